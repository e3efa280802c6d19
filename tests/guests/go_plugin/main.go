// A plugin of the contract, ABI version 1, in Go: GOOS=wasip1 GOARCH=wasm, -buildmode=c-shared.
//
// In Go's own style: the memory exports are spelled guest_malloc and guest_free, the start function
// is the runtime's _initialize, requests and replies go through encoding/json, and the runtime brings
// a dozen WASI imports along. Its tools:
//
//	echo        {"message": any}     -> {"echo": any}
//	word_count  {"text": string}     -> {"lines", "words", "characters"}: words at Unicode white space
//	nap         {"ms": number}       -> {"slept": ms}: time.Sleep in the goroutine of the call
//	sleep       {"seconds": number}  -> {"slept": seconds}: waits for a timer in another goroutine
//	fetch       {"path": string}     -> {"status", "body"}: GET base_url + path with the bearer token
//
// configure takes {"base_url": string, "api_key": string}; base_url may not be empty.
package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

//go:wasmimport env host_http_request
func hostHTTPRequest(request uint64) uint64

//go:wasmimport env host_log
func hostLog(ptr, size uint32)

// lent keeps what the host holds a pointer to away from the garbage collector.
var lent = map[uint32][]byte{}

//go:wasmexport guest_malloc
func guestMalloc(size uint32) uint32 {
	return lend(make([]byte, max(size, 1)))
}

//go:wasmexport guest_free
func guestFree(ptr uint32) {
	delete(lent, ptr)
}

func lend(block []byte) uint32 {
	ptr := address(block)
	lent[ptr] = block
	return ptr
}

func address(bytes []byte) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes))))
}

func view(packed uint64) []byte {
	if uint32(packed) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(packed>>32))), uint32(packed))
}

func pack(bytes []byte) uint64 {
	return uint64(address(bytes))<<32 | uint64(len(bytes))
}

// give hands a copy to the host, which frees it.
func give(text string) uint64 {
	if text == "" {
		return 0
	}
	block := []byte(text)
	lend(block)
	return pack(block)
}

func giveJSON(value any) uint64 {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return give(string(encoded))
}

//go:wasmexport name
func name() uint64 { return give("go_plugin") }

//go:wasmexport healthy
func healthy() int32 { return 1 }

//go:wasmexport metadata
func metadata() uint64 {
	return giveJSON(map[string]any{
		"name": "go_plugin", "version": "1.0.0", "abi_version": 1,
		"description": "The contract in Go.", "author": "the wasmpool developers",
		"homepage": "", "license": "MIT", "capabilities": []string{"http"},
		"credential_keys": []string{"base_url", "api_key"}, "plain_text_keys": []string{"base_url"},
		"optional_keys": []string{"api_key"},
		"placeholders":  map[string]string{"base_url": "https://api.example.com"},
	})
}

type tool struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Parameters  map[string]string `json:"parameters"`
	Required    []string          `json:"required,omitempty"`
	run         func(arguments) (any, error)
}

type arguments map[string]json.RawMessage

var table []tool

func init() {
	table = []tool{
		{"echo", "Answers with its argument.",
			map[string]string{"message": "any JSON value"}, []string{"message"}, echo},
		{"word_count", "Counts lines, words and characters.",
			map[string]string{"text": "the text"}, []string{"text"}, wordCount},
		{"nap", "Sleeps in the goroutine of the call.",
			map[string]string{"ms": "milliseconds"}, []string{"ms"}, nap},
		{"sleep", "Waits for a timer in another goroutine.",
			map[string]string{"seconds": "seconds"}, []string{"seconds"}, sleep},
		{"fetch", "Gets base_url + path.",
			map[string]string{"path": "what to append to base_url"}, []string{"path"}, fetch},
	}
}

//go:wasmexport tools
func tools() uint64 { return giveJSON(table) }

//go:wasmexport compact_specs
func compactSpecs() uint64 {
	return giveJSON(map[string][]string{"fetch": {"status", "body"}})
}

var credentials struct {
	BaseURL string `json:"base_url"`
	APIKey  string `json:"api_key"`
}

//go:wasmexport configure
func configure(payload uint64) uint64 {
	given := credentials
	given.BaseURL, given.APIKey = "", ""
	if err := json.Unmarshal(view(payload), &given); err != nil {
		return give("credentials: " + err.Error())
	}
	if given.BaseURL == "" {
		return give("base_url is missing or empty")
	}
	credentials = given
	log("configured for " + given.BaseURL)
	return 0
}

func log(line string) {
	bytes := []byte(line)
	hostLog(address(bytes), uint32(len(bytes)))
	runtime.KeepAlive(bytes)
}

type reply struct {
	Data    string `json:"data"`
	IsError bool   `json:"is_error,omitempty"`
}

//go:wasmexport execute
func execute(payload uint64) uint64 {
	data, err := dispatch(view(payload))
	if err != nil {
		return giveJSON(reply{err.Error(), true})
	}
	return giveJSON(reply{string(data), false})
}

func dispatch(payload []byte) ([]byte, error) {
	var request struct {
		Tool string    `json:"tool_name"`
		Args arguments `json:"args"`
	}
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("broken request: %w", err)
	}
	var names []string
	for _, tool := range table {
		if tool.Name == request.Tool {
			value, err := tool.run(request.Args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", tool.Name, err)
			}
			return json.Marshal(value)
		}
		names = append(names, tool.Name)
	}
	return nil, fmt.Errorf("unknown tool %q: there are %s", request.Tool, strings.Join(names, ", "))
}

func argument[T any](args arguments, name string) (T, error) {
	var value T
	raw, there := args[name]
	if !there {
		return value, fmt.Errorf("%s is missing", name)
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

func echo(args arguments) (any, error) {
	message, err := argument[json.RawMessage](args, "message")
	return map[string]json.RawMessage{"echo": message}, err
}

func wordCount(args arguments) (any, error) {
	text, err := argument[string](args, "text")
	lines := strings.Count(text, "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		lines++
	}
	return map[string]int{
		"lines": lines, "words": len(strings.Fields(text)), "characters": utf8.RuneCountInString(text),
	}, err
}

func nap(args arguments) (any, error) {
	ms, err := argument[float64](args, "ms")
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(ms * float64(time.Millisecond)))
	return map[string]float64{"slept": ms}, nil
}

func sleep(args arguments) (any, error) {
	seconds, err := argument[float64](args, "seconds")
	if err != nil {
		return nil, err
	}
	woken := make(chan struct{})
	go func() {
		<-time.After(time.Duration(seconds * float64(time.Second)))
		close(woken)
	}()
	<-woken
	return map[string]float64{"slept": seconds}, nil
}

func fetch(args arguments) (any, error) {
	path, err := argument[string](args, "path")
	if err != nil {
		return nil, err
	}
	if credentials.BaseURL == "" {
		return nil, fmt.Errorf("not configured: it needs credentials with a base_url")
	}
	request, err := json.Marshal(map[string]any{
		"method": "GET", "url": credentials.BaseURL + path,
		"headers": map[string]string{"Authorization": "Bearer " + credentials.APIKey},
	})
	if err != nil {
		return nil, err
	}
	packed := hostHTTPRequest(pack(request))
	runtime.KeepAlive(request)
	defer guestFree(uint32(packed >> 32))
	var response struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	}
	err = json.Unmarshal(view(packed), &response)
	return map[string]any{"status": response.Status, "body": response.Body}, err
}

func main() {}
