package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestShow(t *testing.T) {
	const pkg = `"Package":"github.com/oakum-build/oakum/a"`
	good := []string{
		`{"Action":"start",` + pkg + `}`,
		`{"Action":"run",` + pkg + `,"Test":"TestQuick"}`,
		`{"Action":"output",` + pkg + `,"Test":"TestQuick","Output":"chatter\n"}`,
		`{"Action":"pass",` + pkg + `,"Test":"TestQuick","Elapsed":0.1}`,
		`{"Action":"run",` + pkg + `,"Test":"TestSlow"}`,
		`{"Action":"pass",` + pkg + `,"Test":"TestSlow","Elapsed":61.23}`,
	}
	end := []string{
		`{"Action":"output",` + pkg + `,"Output":"PASS\n"}`,
		`{"Action":"output",` + pkg + `,"Output":"ok  \ta\t1s\n"}`,
		`{"Action":"pass",` + pkg + `,"Elapsed":1}`,
	}
	failing := []string{
		`{"Action":"output",` + pkg + `,"Test":"TestBad/sub","Output":"    why\n"}`,
		`{"Action":"fail",` + pkg + `,"Test":"TestBad/sub"}`,
		`{"Action":"output",` + pkg + `,"Output":"FAIL\n"}`,
		`{"Action":"fail",` + pkg + `}`,
	}
	cut := []string{
		`{"Action":"run",` + pkg + `,"Test":"TestHangs"}`,
		`{"Action":"output",` + pkg + `,"Test":"TestHangs","Output":"goroutine 1\n"}`,
		`{"Action":"output",` + pkg + `,"Output":"FAIL\n"}`,
		`{"Action":"fail",` + pkg + `}`,
	}
	broken := []string{
		`{"ImportPath":"a","Action":"build-output","Output":"a.go:1: no\n"}`,
		`{"ImportPath":"a","Action":"build-fail"}`,
	}
	join := func(parts ...[]string) string {
		var all string
		for _, p := range parts {
			all += strings.Join(p, "\n") + "\n"
		}
		return all
	}
	tests := []struct {
		in, want string
		ok       bool
	}{
		{join(good, end), "    a TestSlow (61.2s)\nok  \ta\t1s\n", true},
		{join(good, failing), "    a TestSlow (61.2s)\n    why\nFAIL\n", false},
		{join(cut), "goroutine 1\nFAIL\n", false},
		{join(broken), "a.go:1: no\n", false},
		{"go: no such package\n", "go: no such package\n", true}, // go test fails too
		{`{"Action":"output","Output":"` + strings.Repeat("x", 17<<20) + `"}`, "reading the tests' output: bufio.Scanner: token too long\n", false},
	}
	for _, test := range tests {
		var out strings.Builder
		if ok := show(strings.NewReader(test.in), &out, nil); ok != test.ok || out.String() != test.want {
			t.Errorf("%.60q: %v, %q; want %v, %q", test.in, ok, out.String(), test.ok, test.want)
		}
	}
}

// A line says now and then how far the tests are, when there was no other.
func TestShowTicks(t *testing.T) {
	in, out := io.Pipe()
	tick := make(chan time.Time)
	var shown strings.Builder
	done := make(chan bool)
	go func() { done <- show(in, &shown, tick) }()
	for _, name := range []string{"TestA", "TestB", "TestC"} {
		fmt.Fprintf(out, `{"Action":"run","Package":"a","Test":%q}`+"\n", name)
	}
	fmt.Fprintln(out, `{"Action":"pass","Package":"a","Test":"TestC"}`)
	fmt.Fprintln(out, `{"Action":"pause","Package":"a","Test":"TestB"}`) // it is read when the one before has been shown
	fmt.Fprintln(out, `{"Action":"pause","Package":"a","Test":"TestB"}`)
	tick <- time.Time{}
	out.Close()
	if ok := <-done; !ok || shown.String() != "    ... 1 passed so far, 2 running, among them a TestB\n" {
		t.Errorf("%v, %q", ok, shown.String())
	}
}
