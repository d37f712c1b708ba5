//go:build linux

package storage

import (
	"errors"
	"io/fs"
	"slices"
)

// A stage that is only copied from goes when the store is pruned, while what was copied
// stays in an image. The cache then still knows the stage's steps and what was read of its
// last layer: so a later build can tell that the copy is the one it has, and need not make
// the stage again for it. Such a layer is an id, of which nothing can be read.

// rememberedFile is there while the cache knows of layers that are gone.
const rememberedFile = "remembered"

// Remembers says whether Remembered can find anything.
func (s *Store) Remembers() bool {
	_, err := s.private.Stat(rememberedFile)
	return err == nil
}

// Remembered is Step for a result that has been removed: see Layer.Gone.
func (s *Store) Remembered(key, content string) (*Layer, bool) {
	for _, r := range slices.Backward(s.results(key)) {
		if r.content == contentName(content) && r.layer != "-" {
			done := make(chan struct{})
			close(done)
			return &Layer{id: r.layer, gone: true, done: done}, true
		}
	}
	return nil, false
}

// Gone says that the layer is one that Remembered gave: it has an id and nothing else, and
// is only good for looking up what was made on it.
func (l *Layer) Gone() bool { return l != nil && l.gone }

// memory is what the cache knows while it is decided what of it stays.
type memory struct {
	steps    map[string][]result // by key
	contents map[string][]string // by key, the digest and the layers that it is of
	wanted   map[string]bool     // layers that are gone, and lead to a result
	results  map[string]bool     // contents of results that stay
	live     map[string]bool     // layers that are there
}

func (s *Store) recall() (memory, error) {
	m := memory{map[string][]result{}, map[string][]string{}, map[string]bool{}, map[string]bool{}, map[string]bool{"-": true, "": true}}
	layers, err := s.cs.Layers()
	if err != nil {
		return m, err
	}
	for _, l := range layers {
		m.live[l.ID] = true
	}
	steps, err := s.names("steps")
	if err != nil {
		return m, err
	}
	for _, key := range steps {
		m.steps[key] = s.results(key)
	}
	contents, err := s.names("contents")
	for _, key := range contents {
		if content, layers, ok := s.content(key); ok && len(layers) > 0 {
			m.contents[key] = append([]string{content}, layers...)
		}
	}
	return m, err
}

func (m memory) stays(r result) bool { return m.live[r.layer] || m.wanted[r.layer] }

// trace finds what leads to the results that are there: the layers that these were copied
// from, and those below.
func (m memory) trace() {
	for known := -1; known != len(m.wanted)+len(m.results); {
		known = len(m.wanted) + len(m.results)
		for _, results := range m.steps {
			for _, r := range results {
				if !m.stays(r) {
					continue
				}
				m.results[r.content] = true
				if !m.live[r.layer] && !m.live[r.below] {
					m.wanted[r.below] = true
				}
			}
		}
		for _, c := range m.contents {
			for _, layer := range c[1:] {
				if m.results[c[0]] && !m.live[layer] {
					m.wanted[layer] = true
				}
			}
		}
	}
}

// forgetSteps drops the results and contents that lead to nothing.
func (s *Store) forgetSteps() error {
	m, err := s.recall()
	if err != nil {
		return err
	}
	m.trace()
	for key, results := range m.steps {
		var lines []string
		for _, r := range results {
			if m.stays(r) {
				lines = append(lines, r.String())
			}
		}
		switch {
		case len(lines) == 0:
			err = s.private.Remove(stepFile(key))
		case len(lines) < len(results):
			err = s.rewriteStep(key, lines)
		}
		if err != nil {
			return err
		}
	}
	contents, err := s.names("contents")
	if err != nil {
		return err
	}
	for _, key := range contents {
		if c := m.contents[key]; c != nil && m.results[c[0]] {
			continue
		}
		if err := s.private.Remove("contents/" + key); err != nil {
			return err
		}
	}
	if len(m.wanted) > 0 {
		return s.private.WriteFile(rememberedFile, nil, 0o600)
	}
	if err := s.private.Remove(rememberedFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
