//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/fingerprints"
	"github.com/oakum-build/oakum/storage/records"
)

// The layer cache has two directories of its own beside the store. recordsDir has what steps
// have given (package records). readsDir has what was read of layers, which never change: a
// file for each, named by a key that covers the layers and what is read of them, with the
// digest of it and the chain IDs of the layers, in hexadecimal. So a step that copies from a
// layer is found without reading it, also when the layer is gone.
//
// The directories of older releases had other names and named layers by the ids of one store.
// They are not read, and Prune removes them.
const (
	recordsDir = "records"
	readsDir   = "reads"
)

// blobsDir has what blobs the layers were pulled and sent as (package blobs), and fingerprintsDir what
// steps were made of (package fingerprints).
const (
	blobsDir        = "blobs"
	fingerprintsDir = "fingerprints"
)

var oldDirs = []string{"steps", "contents"}

// maxRead bounds what is read of a file in readsDir.
const maxRead = 1 << 16

// Content gives what RememberContent was told: the digest of files that a step reads
// from layers, which never change.
func (s *Store) Content(key string) (string, bool) {
	content, _, ok := s.content(key)
	return content, ok
}

// content gives the layers too, in hexadecimal.
func (s *Store) content(key string) (content string, layers []string, ok bool) {
	if !records.ValidKey(key) {
		return "", nil, false
	}
	f, err := s.private.Open(readsDir + "/" + key)
	if err != nil {
		return "", nil, false
	}
	defer f.Close()
	data := make([]byte, maxRead)
	n, err := f.Read(data)
	if err != nil || n == len(data) {
		return "", nil, false
	}
	fields := strings.Split(string(data[:n]), " ")
	for _, f := range fields {
		if !records.ValidKey(f) {
			return "", nil, false
		}
	}
	return fields[0], fields[1:], true
}

// RememberContent remembers a digest under a key that covers the layers and what is
// read of them. What is said without layers is forgotten by Prune.
func (s *Store) RememberContent(key, content string, layers ...digest.Digest) error {
	if !records.ValidKey(key) || !records.ValidKey(content) {
		return fmt.Errorf("content key %q, content %q: not digests", key, content)
	}
	words := []string{content}
	for _, chain := range layers {
		words = append(words, chain.Encoded())
	}
	return s.private.WriteFile(readsDir+"/"+key, []byte(strings.Join(words, " ")), 0o600)
}

// rememberedFile is there while the cache knows of layers that are gone.
const rememberedFile = "remembered"

// Remembers says whether the cache has records of layers that Prune has removed, so that
// Remembered layers can be of use.
func (s *Store) Remembers() bool {
	_, err := s.private.Stat(rememberedFile)
	return err == nil
}

// RememberGone notes that the cache has records of layers that are not in the store.
func (s *Store) RememberGone() error {
	if s.Remembers() {
		return nil
	}
	return s.private.WriteFile(rememberedFile, nil, 0o600)
}

// A stage that is only copied from goes when the store is pruned, while what was copied
// stays in an image. The records of its steps stay, and what was read of its last layer: so a
// later build can tell that the copy is the one it has, and need not make the stage again for
// it.

// memory is what the cache knows while it is decided what of it stays. All layers are
// chain IDs.
type memory struct {
	records []records.Record
	seen    map[result]bool            // the same; what others add meanwhile stays
	keys    []string                   // of all that was read
	reads   map[string][]digest.Digest // by key: the layers that it is of
	content map[string]string          // by key: what was read
	live    map[digest.Digest]bool     // layers that are there
	diffs   map[digest.Digest]bool     // their own digests
	wanted  map[digest.Digest]bool     // layers that are gone, and lead to a result
	parts   map[string][]string        // by content of a record: of which contents it is, where a step reads several
	results map[string]bool            // contents of records that stay, and those that they are of
}

// result names a record.
type result struct {
	key, content string
	below, chain digest.Digest
}

func resultOf(r records.Record) result { return result{r.Key, r.Content, r.Below, r.Chain} }

// recall reads the records before the layers: of all that is recorded by then, the layers are there, unless they have gone.
func (s *Store) recall() (memory, error) {
	m := memory{
		seen: map[result]bool{}, reads: map[string][]digest.Digest{}, content: map[string]string{}, parts: map[string][]string{}, results: map[string]bool{},
		live: map[digest.Digest]bool{"": true}, diffs: map[digest.Digest]bool{}, wanted: map[digest.Digest]bool{},
	}
	err := s.records.Keep(func(r records.Record) bool {
		m.records = append(m.records, r)
		m.seen[resultOf(r)] = true
		if _, known := m.parts[r.Content]; !known {
			m.parts[r.Content] = s.fingerprints.Parts(r.Content)
		}
		return true
	})
	if err != nil {
		return m, err
	}
	m.keys, err = s.names(readsDir)
	for _, key := range m.keys {
		content, layers, ok := s.content(key)
		if !ok || len(layers) == 0 {
			continue
		}
		m.content[key] = content
		for _, l := range layers {
			m.reads[key] = append(m.reads[key], digest.NewDigestFromEncoded(digest.SHA256, l))
		}
	}
	return m, errors.Join(err, s.recallLayers(m))
}

func (s *Store) recallLayers(m memory) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readLayers(); err != nil {
		return err
	}
	for id := range s.index.records {
		if l, err := s.indexed(id); err == nil {
			m.live[l.chain], m.diffs[l.diffID] = true, true
		}
	}
	return nil
}

// stays says whether a record leads to a layer that is there. One of a layer that can go on
// top of any others is of that layer alone.
func (m memory) stays(r records.Record) bool {
	return m.live[r.Chain] || m.wanted[r.Chain] || r.Below == "" && m.diffs[r.DiffID]
}

// ofLive says that what was read was read of layers that are there.
func (m memory) ofLive(key string) bool {
	return len(m.reads[key]) > 0 && !slices.ContainsFunc(m.reads[key], func(chain digest.Digest) bool { return !m.live[chain] })
}

// trace finds what leads to the results that are there: the layers that these were copied
// from, and those below.
func (m memory) trace() {
	want := func(chain digest.Digest) {
		if !m.live[chain] {
			m.wanted[chain] = true
		}
	}
	for known := -1; known != len(m.wanted)+len(m.results); {
		known = len(m.wanted) + len(m.results)
		for _, r := range m.records {
			if !m.stays(r) {
				continue
			}
			m.results[r.Content] = true
			for _, part := range m.parts[r.Content] {
				m.results[part] = true
			}
			if !m.live[r.Chain] {
				want(r.Below)
			}
		}
		for key, layers := range m.reads {
			for _, chain := range layers {
				if m.results[m.content[key]] {
					want(chain)
				}
			}
		}
	}
}

// recorded says of a key whether a record of it stays.
func (m memory) recorded() func(key string) bool {
	keys := map[string]bool{}
	for _, r := range m.records {
		if m.stays(r) {
			keys[r.Key] = true
		}
	}
	return func(key string) bool { return keys[key] }
}

// Fingerprints are what steps were made of, for who explains why one is done again.
func (s *Store) Fingerprints() *fingerprints.Dir { return s.fingerprints }

// forgetSteps drops the records and what was read that lead to nothing.
func (s *Store) forgetSteps() error {
	begun := time.Now().Add(-time.Second) // file systems date to some milliseconds
	m, err := s.recall()
	if err != nil {
		return err
	}
	return s.forget(m, begun)
}

// forget drops what was recalled, at begun or after it, and leads to nothing. What was recorded since stays.
func (s *Store) forget(m memory, begun time.Time) error {
	m.trace()
	if err := s.records.Keep(func(r records.Record) bool { return !m.seen[resultOf(r)] || m.stays(r) }); err != nil {
		return err
	}
	if err := s.fingerprints.Keep(begun, m.recorded()); err != nil {
		return err
	}
	if err := s.blobs.Keep(func(diffID digest.Digest) bool { return m.diffs[diffID] }); err != nil {
		return err
	}
	for _, key := range m.keys {
		if m.reads[key] != nil && m.results[m.content[key]] || m.ofLive(key) {
			continue
		}
		if err := s.private.Remove(readsDir + "/" + key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, dir := range oldDirs {
		if err := s.private.RemoveAll(dir); err != nil {
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
