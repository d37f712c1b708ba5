// Command progress shows the tests of "go test -json", which it reads from standard
// input, as they go: a line for each package and for each test that took a while, the
// output of those that failed, and now and then how far they are. It fails when one of
// them did.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	every = 10 * time.Second // between two lines that say how far the tests are
	long  = 3.0              // seconds; of a test with a line of its own
)

func main() {
	if !show(os.Stdin, os.Stdout, time.Tick(every)) {
		os.Exit(1)
	}
}

// event is that of test2json. Lines of the build have an ImportPath, the others a Package.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// state is what is known of the tests so far.
type state struct {
	w       io.Writer
	output  map[string][]string // of a test or package that has not ended, by its name
	running map[string]bool     // tests
	passed  int
	failed  bool
	spoke   bool // since the last tick
}

// show reads events until in ends, and says whether all tests passed.
func show(in io.Reader, w io.Writer, tick <-chan time.Time) bool {
	s := state{w: w, output: map[string][]string{}, running: map[string]bool{}}
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		if err := scanner.Err(); err != nil {
			lines <- "reading the tests' output: " + err.Error()
		}
	}()
	for {
		select {
		case <-tick:
			s.tick()
		case line, ok := <-lines:
			if !ok {
				return !s.failed
			}
			s.line(line)
		}
	}
}

func (s *state) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		s.print(line + "\n") // go test itself says something
		s.failed = s.failed || strings.HasPrefix(line, "reading ")
		return
	}
	name := cmp.Or(e.Package, e.ImportPath)
	if e.Test != "" {
		name += " " + e.Test
	}
	switch e.Action {
	case "run":
		s.running[name] = true
	case "output", "build-output":
		s.output[name] = append(s.output[name], e.Output)
	case "pass", "skip":
		s.end(name, e, true)
	case "fail", "build-fail":
		s.failed = true
		if e.Test == "" {
			s.cutShort(name)
		}
		s.end(name, e, false)
	}
}

// cutShort prints what the tests have written that have not ended though their package has: of one that was ended in the middle,
// as by its time limit, it says where that was.
func (s *state) cutShort(name string) {
	for _, test := range slices.Sorted(maps.Keys(s.running)) {
		if strings.HasPrefix(test, name+" ") {
			s.print(strings.Join(s.output[test], ""))
			delete(s.output, test)
			delete(s.running, test)
		}
	}
}

// end prints what is to be told of a test or a package that ended.
func (s *state) end(name string, e event, ok bool) {
	output := s.output[name]
	delete(s.output, name)
	delete(s.running, name)
	switch {
	case !ok:
		s.print(strings.Join(output, ""))
	case e.Test == "" && len(output) > 0: // "ok PACKAGE TIME", or that it has no tests
		s.print(output[len(output)-1])
	case e.Test != "":
		s.passed++
		if e.Elapsed >= long {
			s.print(fmt.Sprintf("    %s (%.1fs)\n", short(name), e.Elapsed))
		}
	}
}

func (s *state) tick() {
	if !s.spoke && len(s.running) > 0 {
		names := slices.Sorted(maps.Keys(s.running))
		s.print(fmt.Sprintf("    ... %d passed so far, %d running, among them %s\n", s.passed, len(names), short(names[len(names)-1])))
	}
	s.spoke = false
}

func (s *state) print(text string) {
	io.WriteString(s.w, text)
	s.spoke = true
}

// short is a name without this module's.
func short(name string) string { return strings.TrimPrefix(name, "github.com/oakum-build/oakum/") }
