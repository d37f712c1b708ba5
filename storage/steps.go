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
	"strings"
	"time"
)

// The layer cache is an index beside the store: for each step a file named by the
// step's key, with a line "content layer" for each result. The key covers the layer
// below and the operation; the content covers the files that the step read. Only keys
// that this package wrote are trusted, never an image's history (CVE-2024-24557).

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
	lines := s.stepLines(key)
	for i := len(lines) - 1; i >= 0; i-- {
		have, id, _ := strings.Cut(lines[i], " ")
		if have != contentName(content) {
			continue
		}
		if id == "-" {
			return nil, true
		}
		if !stepKey.MatchString(id) {
			continue // a line that a crash cut short
		}
		if l, err := s.Layer(id); err == nil {
			return l, true
		}
	}
	return nil, false
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

// RecordStep remembers a result. The layer must be registered; nil is the empty root.
func (s *Store) RecordStep(key, content string, l *Layer) error {
	if !stepKey.MatchString(key) || (content != "" && !stepKey.MatchString(content)) {
		return fmt.Errorf("step key %q, content %q: not digests", key, content)
	}
	id := l.ID()
	if id == "" {
		id = "-"
	}
	line := contentName(content) + " " + id
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
	data, err := s.private.ReadFile("contents/" + key)
	if err != nil || !stepKey.Match(data) {
		return "", false
	}
	return string(data), true
}

// RememberContent remembers a digest under a key that covers the layers and what is
// read of them.
func (s *Store) RememberContent(key, content string) error {
	if !stepKey.MatchString(key) || !stepKey.MatchString(content) {
		return fmt.Errorf("content key %q, content %q: not digests", key, content)
	}
	return s.private.WriteFile("contents/"+key, []byte(content), 0o600)
}
