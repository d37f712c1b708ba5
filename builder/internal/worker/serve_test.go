//go:build linux

package worker

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var declaration = regexp.MustCompile(`(?m)^func \(\w+\) Gives\(.*\) string \{ return "(\w+)" \}$`)

// Each method of the protocol has a handler.
func TestEveryMethodIsServed(t *testing.T) {
	t.Parallel()
	s := (&worker{}).server()
	files, err := filepath.Glob("../protocol/*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(name) == "questions.go" {
			continue // which the worker asks
		}
		for _, m := range declaration.FindAllSubmatch(text, -1) {
			methods++
			if !s.Handles(string(m[1])) {
				t.Errorf("nothing serves the method %s", m[1])
			}
		}
	}
	if methods < 18 {
		t.Errorf("found %d methods", methods)
	}
}
