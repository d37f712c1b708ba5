//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// told is what --metadata-file says of a step.
type told struct {
	Instruction string
	Cached      bool
	Explained   *struct {
		Cause   string
		Changes []struct{ Kind, Name, How, Before, Now string }
	}
}

// TestExplain changes one thing at a time of a build with a context of ten thousand files, and has the
// program name it, in a process of its own each time.
func TestExplain(t *testing.T) {
	h := newHome(t)
	context := h.context("many", "ARG BASE=busybox:1.36\nFROM $BASE\nARG VERSION=1\nCOPY src /src\nRUN ls /src >/list\n")
	for i := range 10000 {
		h.write(fmt.Sprintf("many/src/%02d/file%04d", i%50, i), fmt.Sprint(i))
	}
	one := filepath.Join(context, "src/07/file0007")
	metadata := filepath.Join(h.dir, "metadata.json")
	build := func(args ...string) []told {
		t.Helper()
		h.run(oakum, append([]string{"build", "-q", "--explain", "--metadata-file", metadata}, append(args, context)...)...)
		text, err := os.ReadFile(metadata)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Steps []told `json:"oakum.steps"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m.Steps
	}
	// changes are those of the step that holds them, of the FROM, the ARG, the COPY and the RUN.
	changes := func(steps []told, step int) (all []string) {
		t.Helper()
		if len(steps) != 4 || steps[step].Explained == nil {
			t.Fatalf("steps are %+v", steps)
		}
		for _, c := range steps[step].Explained.Changes {
			if c.How == "content" || c.Kind == "argument" { // of which only digests are told
				if c.Before == "" || c.Now == "" || c.Before == c.Now {
					t.Errorf("%+v has no two digests", c)
				}
				c.Before, c.Now = "", ""
			}
			if c.Kind == "base" {
				c.Before, c.Now = "", ""
			}
			all = append(all, fmt.Sprint(c))
		}
		return all
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const copied, ran = 2, 3
	if first := build(); first[copied].Explained.Cause != "new" {
		t.Errorf("the first build says %+v", first[copied])
	}
	for i, s := range build()[copied:] {
		if !s.Cached {
			t.Errorf("step %d is done again: %+v", i, s)
		}
	}
	if err := os.WriteFile(one, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	steps := build()
	want(changes(steps, copied), "{file src/07/file0007 content  }")
	want(changes(steps, ran), "{parent COPY src /src   }")
	info, err := os.Stat(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(one, 0o700); err != nil {
		t.Fatal(err)
	}
	want(changes(build(), copied), fmt.Sprintf("{file src/07/file0007 mode %04o 0700}", info.Mode().Perm()))
	want(changes(build("--build-arg", "VERSION=2"), ran), "{argument VERSION   }")
	want(changes(build("--build-arg", "BASE=debian:bookworm-slim"), copied), "{base debian:bookworm-slim   }")
}
