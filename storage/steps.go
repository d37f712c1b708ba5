//go:build linux

package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The layer cache is an index beside the store: for each step a file named by the
// step's key, with a line "content layer below" for each result. The key covers the layer
// below and the operation; the content covers the files that the step read. Only keys
// that this package wrote are trusted, never an image's history (CVE-2024-24557).
//
// Prune leaves the lines of removed layers that lead to a result that is still there: see
// remember.go.

var stepKey = regexp.MustCompile(`^[0-9a-f]{64}$`)

// maxResults bounds a step's file; the newest results are kept.
const maxResults = 64

// StepSeen says whether the step has any result, so whether it is worth knowing the
// content that it would read.
func (s *Store) StepSeen(key string) bool {
	_, err := s.private.Stat(stepFile(key))
	return err == nil
}

func stepFile(key string) string { return "steps/" + key }

// Step finds a step's result for this content, the newest one. A layer that has been
// removed since is no result.
func (s *Store) Step(key, content string) (*Layer, bool) {
	for _, r := range slices.Backward(s.results(key)) {
		if r.content != contentName(content) {
			continue
		}
		if r.layer == "-" {
			return nil, true
		}
		if l, err := s.Layer(r.layer); err == nil {
			return l, true
		}
	}
	return nil, false
}

// result is a line of a step's file.
type result struct {
	content string // or "-"
	layer   string // or "-", the empty root
	below   string // or "-"; "" when it does not matter
}

func (r result) String() string { return strings.TrimSuffix(r.content+" "+r.layer+" "+r.below, " ") }

// parseResult gives nothing of a line that a crash cut short.
func parseResult(line string) (r result, ok bool) {
	fields := strings.Split(line, " ")
	if len(fields) < 2 || len(fields) > 3 {
		return r, false
	}
	for _, id := range fields[1:] {
		if id != "-" && !stepKey.MatchString(id) {
			return r, false
		}
	}
	r.content, r.layer = fields[0], fields[1]
	if len(fields) == 3 {
		r.below = fields[2]
	}
	return r, true
}

func (s *Store) results(key string) []result {
	var results []result
	for _, line := range s.stepLines(key) {
		if r, ok := parseResult(line); ok {
			results = append(results, r)
		}
	}
	return results
}

func (s *Store) stepLines(key string) []string {
	data, err := s.private.ReadFile(stepFile(key))
	if err != nil {
		return nil
	}
	var lines []string
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	return lines
}

func contentName(content string) string {
	if content == "" {
		return "-"
	}
	return content
}

// RecordStep remembers a result on the layer below. The layer must be registered; nil is the
// empty root.
func (s *Store) RecordStep(key, content string, below, l *Layer) error {
	if !stepKey.MatchString(key) || (content != "" && !stepKey.MatchString(content)) {
		return fmt.Errorf("step key %q, content %q: not digests", key, content)
	}
	line := result{contentName(content), contentName(l.ID()), contentName(below.ID())}.String()
	if lines := s.stepLines(key); len(lines) >= maxResults {
		lines = append(lines[len(lines)-maxResults/2:], line)
		return s.rewriteStep(key, lines)
	}
	f, err := s.private.OpenFile(stepFile(key), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// One write: two processes' lines do not mix.
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

func (s *Store) rewriteStep(key string, lines []string) error {
	tmp := fmt.Sprintf("%s.%d", stepFile(key), time.Now().UnixNano())
	if err := s.private.WriteFile(tmp, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.private.Rename(tmp, stepFile(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Content gives what RememberContent was told: the digest of files that a step reads
// from layers, which never change.
func (s *Store) Content(key string) (string, bool) {
	content, _, ok := s.content(key)
	return content, ok
}

// content gives the layers too.
func (s *Store) content(key string) (content string, layers []string, ok bool) {
	data, err := s.private.ReadFile("contents/" + key)
	if err != nil {
		return "", nil, false
	}
	fields := strings.Split(string(data), " ")
	for _, f := range fields {
		if !stepKey.MatchString(f) {
			return "", nil, false
		}
	}
	return fields[0], fields[1:], true
}

// RememberContent remembers a digest under a key that covers the layers and what is
// read of them. What is said without layers is forgotten by Prune.
func (s *Store) RememberContent(key, content string, layers ...string) error {
	if !stepKey.MatchString(key) || !stepKey.MatchString(content) {
		return fmt.Errorf("content key %q, content %q: not digests", key, content)
	}
	text := strings.Join(append([]string{content}, layers...), " ")
	return s.private.WriteFile("contents/"+key, []byte(text), 0o600)
}
