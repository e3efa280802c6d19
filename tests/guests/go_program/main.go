// A WASI program in Go: GOOS=wasip1 GOARCH=wasm. It does what its arguments say, and exits.
//
//	program args WORD...       prints each argument on a line of its own, the program's name first
//	program env                prints the environment, sorted, a line each
//	program cat                copies standard input to standard output
//	program list PATH          prints the names in a directory, sorted, a line each; "/" behind directories
//	program copy FROM TO       copies a file, and makes the directories on the way to it
//	program count N            adds 1 to N in as many goroutines
//	program nap MS             sleeps in two goroutines at once
//	program exit N             exits with that status, deferred functions do not run
//	program panic TEXT         panics
//	program recover TEXT       panics, and recovers
//	program nil                dereferences a nil pointer
//	program deadlock           waits for a channel that nothing writes to
//	program recurse            calls itself for ever
//	program grow               takes memory for ever
//	program spin               never ends
//
// Status 1: an operation failed; it is on standard error. Status 2: wrong use, or what the runtime
// exits with.
package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		wrongUse()
	}
	run, there := map[string]func([]string) error{
		"args": args, "env": env, "cat": cat, "list": list, "copy": copyFile, "count": count,
		"nap": nap, "exit": exit, "panic": panics, "recover": recovers, "nil": dereference,
		"deadlock": deadlock, "recurse": recurse, "grow": grow, "spin": spin,
	}[os.Args[1]]
	if !there {
		wrongUse()
	}
	if err := run(append(os.Args[2:], "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func wrongUse() {
	fmt.Fprintln(os.Stderr, "wrong use")
	os.Exit(2)
}

func args([]string) error {
	for _, each := range os.Args {
		fmt.Println(each)
	}
	return nil
}

func env([]string) error {
	found := os.Environ()
	sort.Strings(found)
	for _, each := range found {
		fmt.Println(each)
	}
	return nil
}

func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

func list(words []string) error {
	entries, err := os.ReadDir(words[0])
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() {
			name += "/"
		}
		fmt.Println(name)
	}
	return err
}

func copyFile(words []string) error {
	content, err := os.ReadFile(words[0])
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path.Dir(words[1]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(words[1], content, 0o644)
}

func count(words []string) error {
	n, err := strconv.Atoi(words[0])
	var lock sync.Mutex
	var all sync.WaitGroup
	sum := 0
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			lock.Lock()
			defer lock.Unlock()
			sum++
		}()
	}
	all.Wait()
	fmt.Println(sum)
	return err
}

func nap(words []string) error {
	ms, err := strconv.Atoi(words[0])
	began := time.Now()
	woken := make(chan struct{})
	for range 2 {
		go func() {
			time.Sleep(time.Duration(ms) * time.Millisecond)
			woken <- struct{}{}
		}()
	}
	<-woken
	<-woken
	fmt.Println(time.Since(began) >= time.Duration(ms)*time.Millisecond)
	return err
}

func exit(words []string) error {
	defer fmt.Println("never printed")
	status, err := strconv.Atoi(words[0])
	if err == nil {
		os.Exit(status)
	}
	return err
}

func panics(words []string) error {
	panic(words[0])
}

func recovers(words []string) (err error) {
	defer func() { fmt.Println("recovered:", recover()) }()
	return panics(words)
}

func dereference([]string) error {
	var nowhere *strings.Builder
	nowhere.WriteString("x")
	return nil
}

func deadlock([]string) error {
	<-make(chan struct{})
	return nil
}

func recurse([]string) error {
	var room [100]int
	return deeper(room[:])
}

func deeper(room []int) error {
	var more [100]int
	copy(more[:], room)
	return deeper(more[:])
}

func grow([]string) error {
	var held [][]byte
	for {
		block := make([]byte, 1<<20)
		for at := range block {
			block[at] = 1
		}
		held = append(held, block)
	}
}

func spin([]string) error {
	for {
	}
}
