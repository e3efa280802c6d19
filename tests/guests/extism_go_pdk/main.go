// An Extism plugin in Go with Extism's own PDK, which is not committed: tests/extism/test_official_pdks.py
// builds it where the PDK lies. What each export does is in extism_zig.zig.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/extism/go-pdk"
)

//go:wasmexport echo
func echo() int32 {
	pdk.Output(pdk.Input())
	return 0
}

//go:wasmexport fail
func fail() int32 {
	input := pdk.Input()
	if len(input) == 0 {
		return 1
	}
	if len(input) > 1 {
		pdk.SetError(errors.New(string(input[1:])))
	}
	return int32(int8(input[0]))
}

//go:wasmexport get_config
func getConfig() int32 {
	value, found := pdk.GetConfig(pdk.InputString())
	return optional([]byte(value), found)
}

//go:wasmexport set_var
func setVar() int32 {
	key, value, _ := bytes.Cut(pdk.Input(), []byte{0})
	pdk.SetVar(string(key), value)
	return 0
}

//go:wasmexport get_var
func getVar() int32 {
	value := pdk.GetVar(pdk.InputString())
	return optional(value, value != nil)
}

//go:wasmexport delete_var
func deleteVar() int32 {
	pdk.RemoveVar(pdk.InputString())
	return 0
}

//go:wasmexport log
func log() int32 {
	input := pdk.Input()
	if len(input) == 0 || input[0] < '0' || input[0] > '4' {
		return 1
	}
	level := []pdk.LogLevel{pdk.LogTrace, pdk.LogDebug, pdk.LogInfo, pdk.LogWarn, pdk.LogError}
	pdk.Log(level[input[0]-'0'], string(input[1:]))
	return 0
}

//go:wasmexport fetch
func fetch() int32 {
	text, body, _ := bytes.Cut(pdk.Input(), []byte{0})
	var wanted pdk.HTTPRequestMeta
	if err := json.Unmarshal(text, &wanted); err != nil {
		pdk.SetError(err)
		return 1
	}
	request := pdk.NewHTTPRequest(method(wanted.Method), wanted.URL)
	for name, value := range wanted.Headers {
		request.SetHeader(name, value)
	}
	response := request.SetBody(body).Send()
	headers, _ := json.Marshal(response.Headers())
	answer := strconv.AppendInt(nil, int64(response.Status()), 10)
	answer = append(append(answer, '\n'), headers...)
	pdk.Output(append(append(answer, '\n'), response.Body()...))
	return 0
}

func method(name string) pdk.HTTPMethod {
	for _, each := range []pdk.HTTPMethod{pdk.MethodPost, pdk.MethodPut, pdk.MethodDelete} {
		if name == each.String() {
			return each
		}
	}
	return pdk.MethodGet
}

func optional(value []byte, found bool) int32 {
	if !found {
		pdk.OutputString("-")
		return 0
	}
	pdk.Output(append([]byte("+"), value...))
	return 0
}

func main() {}
