// An Extism plugin in Go as a reactor: GOOS=wasip1 GOARCH=wasm, -buildmode=c-shared.
//
// It imports extism:host/env as it is, without a PDK, and its runtime brings WASI along. Its exports
// are those of extism_zig.zig, which says what each of them does.
package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

//go:wasmimport extism:host/env alloc
func alloc(size uint64) uint64

//go:wasmimport extism:host/env free
func free(block uint64)

//go:wasmimport extism:host/env length
func length(block uint64) uint64

//go:wasmimport extism:host/env length_unsafe
func lengthUnsafe(block uint64) uint64

//go:wasmimport extism:host/env load_u8
func loadU8(at uint64) uint32

//go:wasmimport extism:host/env load_u64
func loadU64(at uint64) uint64

//go:wasmimport extism:host/env store_u8
func storeU8(at uint64, b uint32)

//go:wasmimport extism:host/env store_u64
func storeU64(at uint64, word uint64)

//go:wasmimport extism:host/env input_offset
func inputOffset() uint64

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env output_set
func outputSet(at, size uint64)

//go:wasmimport extism:host/env error_set
func errorSet(block uint64)

//go:wasmimport extism:host/env config_get
func configGet(key uint64) uint64

//go:wasmimport extism:host/env var_get
func varGet(key uint64) uint64

//go:wasmimport extism:host/env var_set
func varSet(key, value uint64)

//go:wasmimport extism:host/env http_request
func httpRequest(request, body uint64) uint64

//go:wasmimport extism:host/env http_status_code
func httpStatusCode() int32

//go:wasmimport extism:host/env http_headers
func httpHeaders() uint64

//go:wasmimport extism:host/env log_trace
func logTrace(block uint64)

//go:wasmimport extism:host/env log_debug
func logDebug(block uint64)

//go:wasmimport extism:host/env log_info
func logInfo(block uint64)

//go:wasmimport extism:host/env log_warn
func logWarn(block uint64)

//go:wasmimport extism:host/env log_error
func logError(block uint64)

//go:wasmimport extism:host/env get_log_level
func getLogLevel() int32

//go:wasmimport extism:host/user transform
func userTransform(block uint64) uint64

//go:wasmimport extism:host/user mix
func userMix(a int32, b int64, c float32, d float64) int64

// ---- texts

func input() []byte {
	return readAt(inputOffset(), inputLength())
}

func read(block uint64) []byte {
	return readAt(block, length(block))
}

func take(block uint64) []byte {
	defer free(block)
	return read(block)
}

func readAt(at, size uint64) []byte {
	text := make([]byte, 0, size)
	for ; size >= 8; size, at = size-8, at+8 {
		text = binary.LittleEndian.AppendUint64(text, loadU64(at))
	}
	for ; size > 0; size, at = size-1, at+1 {
		text = append(text, byte(loadU8(at)))
	}
	return text
}

func write(text []byte) uint64 {
	block := alloc(uint64(len(text)))
	at := block
	for ; len(text) >= 8; text, at = text[8:], at+8 {
		storeU64(at, binary.LittleEndian.Uint64(text))
	}
	for _, each := range text {
		storeU8(at, uint32(each))
		at++
	}
	return block
}

func reply(text []byte) int32 {
	outputSet(write(text), uint64(len(text)))
	return 0
}

func replyOptional(block uint64) int32 {
	if block == 0 {
		return reply([]byte("-"))
	}
	return reply(append([]byte("+"), take(block)...))
}

// parted parts a text at its first zero byte.
func parted(text []byte) (before, after []byte) {
	before, after, _ = bytes.Cut(text, []byte{0})
	return
}

// ---- input and output

//go:wasmexport echo
func echo() int32 {
	return reply(input())
}

//go:wasmexport echo_in_place
func echoInPlace() int32 {
	outputSet(inputOffset(), inputLength())
	return 0
}

//go:wasmexport tail
func tail() int32 {
	if size := inputLength(); size > 1 {
		outputSet(inputOffset()+1, size-1)
	}
	return 0
}

const vowels = "aeiouAEIOU"

//go:wasmexport count_vowels
func countVowels() int32 {
	count := uint64(0)
	for _, each := range input() {
		if bytes.IndexByte([]byte(vowels), each) >= 0 {
			count++
		}
	}
	total := count
	if before := varGet(write([]byte("total"))); before != 0 {
		total += binary.LittleEndian.Uint64(take(before))
	}
	varSet(write([]byte("total")), write(binary.LittleEndian.AppendUint64(nil, total)))
	answer := strconv.AppendUint([]byte(`{"count":`), count, 10)
	answer = strconv.AppendUint(append(answer, `,"total":`...), total, 10)
	return reply(append(answer, `,"vowels":"`+vowels+`"}`...))
}

// ---- errors

//go:wasmexport fail
func fail() int32 {
	text := input()
	if len(text) == 0 {
		return 1
	}
	if len(text) > 1 {
		errorSet(write(text[1:]))
	}
	return int32(int8(text[0]))
}

//go:wasmexport recover
func recoverFromIt() int32 {
	errorSet(write(input()))
	errorSet(0)
	return reply([]byte("recovered"))
}

//go:wasmexport trap
func trap() int32 {
	panic("as it was asked")
}

// ---- configuration and variables

//go:wasmexport get_config
func getConfig() int32 {
	return replyOptional(configGet(write(input())))
}

//go:wasmexport set_var
func setVar() int32 {
	key, value := parted(input())
	varSet(write(key), write(value))
	return 0
}

//go:wasmexport get_var
func getVar() int32 {
	return replyOptional(varGet(write(input())))
}

//go:wasmexport delete_var
func deleteVar() int32 {
	varSet(write(input()), 0)
	return 0
}

// ---- log lines

//go:wasmexport log
func log() int32 {
	text := input()
	if len(text) == 0 {
		return 1
	}
	message := write(text[1:])
	switch text[0] {
	case '0':
		logTrace(message)
	case '1':
		logDebug(message)
	case '2':
		logInfo(message)
	case '3':
		logWarn(message)
	case '4':
		logError(message)
	default:
		return 1
	}
	return 0
}

//go:wasmexport log_level
func logLevel() int32 {
	return reply(strconv.AppendInt(nil, int64(getLogLevel()), 10))
}

// ---- what the host does for it

//go:wasmexport fetch
func fetch() int32 {
	request, body := parted(input())
	response := httpRequest(write(request), write(body))
	answer := strconv.AppendInt(nil, int64(httpStatusCode()), 10)
	answer = append(append(answer, '\n'), take(httpHeaders())...)
	return reply(append(append(answer, '\n'), take(response)...))
}

//go:wasmexport transform
func transform() int32 {
	given := write(input())
	made := userTransform(given)
	free(given)
	return reply(take(made))
}

//go:wasmexport mix
func mix() int32 {
	text := input()
	if len(text) != 24 {
		return 1
	}
	mixed := userMix(
		int32(binary.LittleEndian.Uint32(text)),
		int64(binary.LittleEndian.Uint64(text[4:])),
		math.Float32frombits(binary.LittleEndian.Uint32(text[12:])),
		math.Float64frombits(binary.LittleEndian.Uint64(text[16:])),
	)
	return reply(binary.LittleEndian.AppendUint64(nil, uint64(mixed)))
}

// ---- blocks

type block struct{ at, size uint64 }

type holder struct {
	blocks []block
	answer []byte
}

//go:wasmexport blocks
func blocks() int32 {
	var held holder
	for steps := input(); len(steps) >= 3; steps = steps[3:] {
		held.step(steps[0]%5, uint64(binary.LittleEndian.Uint16(steps[1:])))
	}
	return reply(held.answer)
}

func (held *holder) step(kind byte, number uint64) {
	if kind == 0 {
		held.take(number)
		return
	}
	if len(held.blocks) == 0 {
		held.add("?")
		return
	}
	chosen := &held.blocks[number%uint64(len(held.blocks))]
	switch kind {
	case 1:
		free(chosen.at)
		held.add("f", length(chosen.at))
		last := len(held.blocks) - 1
		*chosen = held.blocks[last]
		held.blocks = held.blocks[:last]
	case 2:
		held.add("l", length(chosen.at))
		held.add("/", lengthUnsafe(chosen.at))
	case 3:
		chosen.fill(number)
		held.add("s")
	default:
		held.add("=", chosen.sum())
	}
}

func (held *holder) take(size uint64) {
	if len(held.blocks) == 64 {
		held.add("?")
		return
	}
	taken := block{alloc(size), size}
	held.add("a", length(taken.at))
	taken.fill(size)
	if size > 0 {
		held.blocks = append(held.blocks, taken)
	}
}

func (held *holder) add(word string, numbers ...uint64) {
	held.answer = append(held.answer, word...)
	for _, each := range numbers {
		held.answer = strconv.AppendUint(held.answer, each, 10)
	}
}

func (each block) fill(number uint64) {
	for k := range each.size {
		storeU8(each.at+k, uint32(number&0xff))
	}
}

func (each block) sum() uint64 {
	total := uint64(0)
	for k := range each.size {
		total += uint64(loadU8(each.at + k))
	}
	return total
}

func main() {}
