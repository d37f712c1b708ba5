//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"

	"github.com/oakum-build/oakum/storage/records"
)

// Chain is the chain ID of a layer and those below it (OCI image configuration, "Layer
// ChainID"), the same in every store that has them; "" is that of the nil Layer. It is known
// once the layer is registered, and until then known is false.
//
// A layer whose digest containers/storage has not found out, as of an image that was pulled in
// parts from zstd:chunked without its tar being read, has none that means anything elsewhere.
// What the image's configuration says of it has not been compared with its files, and believing
// it would let an image take the steps of another one for its own. For such a layer, and those
// on it, Chain is a digest that only this store gives: steps on it are found again here, and
// nowhere else.
func (l *Layer) Chain() (chain digest.Digest, known bool) {
	if l == nil {
		return "", true
	}
	if !l.registered() {
		return "", false
	}
	return l.chain, true
}

func chainOf(parent *Layer, id string, diffID digest.Digest) digest.Digest {
	below, _ := parent.Chain()
	if !records.Usable(diffID) {
		return digest.FromString("layer " + id + " of a store, on " + string(below))
	}
	return records.ChainID(below, diffID)
}

// index is what is known of the store's layers. They are read at once, since every step of a
// cached build asks for one more; whether a layer's files are still there is asked each time.
type index struct {
	records map[string]*cs.Layer          // by id, when they were last read
	diffs   map[digest.Digest][]*cs.Layer // those that can stand for a digest, by it
	layers  map[string]*Layer             // those that were asked for, by id
}

// readLayers reads the store's layers anew. The caller holds s.mu.
func (s *Store) readLayers() error {
	all, err := s.catalog.Layers()
	if err != nil {
		return err
	}
	s.index = index{make(map[string]*cs.Layer, len(all)), make(map[digest.Digest][]*cs.Layer, len(all)), map[string]*Layer{}}
	for i := range all {
		s.indexRecord(&all[i])
	}
	return nil
}

func (s *Store) indexRecord(l *cs.Layer) {
	s.index.records[l.ID] = l
	if s.plainOwners(l) && records.Usable(l.UncompressedDigest) && l.Flags["incomplete"] != true {
		s.index.diffs[l.UncompressedDigest] = append(s.index.diffs[l.UncompressedDigest], l)
	}
}

// indexMade adds a layer that has just been registered to what is known.
func (s *Store) indexMade(l *cs.Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index.records != nil && s.index.records[l.ID] == nil {
		s.indexRecord(l)
	}
}

// plainOwners says whether a layer's files have the owners that its digest tells of. For a
// container whose ids are mapped, Podman makes a copy of its image's uppermost layer with other
// owners and the same digest.
func (s *Store) plainOwners(l *cs.Layer) bool {
	plain := func(of, all []idtools.IDMap) bool { return len(of) == 0 || slices.Equal(of, all) }
	return plain(l.UIDMap, s.catalog.UIDMap()) && plain(l.GIDMap, s.catalog.GIDMap())
}

// Layer finds a layer of the store with those below it.
func (s *Store) Layer(id string) (*Layer, error) {
	if id == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, err := s.indexed(id); err == nil && known.present() {
		return known, nil
	}
	if err := s.readLayers(); err != nil {
		return nil, err
	}
	return s.indexed(id)
}

// indexed makes the Layer of a record and of those below it. The caller holds s.mu.
func (s *Store) indexed(id string) (*Layer, error) {
	if known := s.index.layers[id]; known != nil || id == "" {
		return known, nil
	}
	record := s.index.records[id]
	if record == nil || s.disk.broken[id] {
		return nil, fmt.Errorf("layer %s: %w", id, cs.ErrLayerUnknown)
	}
	parent, err := s.indexed(record.Parent)
	if err != nil {
		return nil, err
	}
	path, err := s.diffDir(id)
	if errors.Is(err, fs.ErrNotExist) {
		err = cs.ErrLayerUnknown // another process is removing it, whose record was there a moment ago
	}
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", id, err)
	}
	l := &Layer{id: id, parent: parent, path: path, done: ended(), chain: chainOf(parent, id, record.UncompressedDigest),
		stream: stream{diffID: record.UncompressedDigest, size: record.UncompressedSize}, created: record.Created}
	s.index.layers[id] = l
	return l, nil
}

// ended is what has ended before.
func ended() chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// LayerOf finds the layer that the first of some records tells of for which there is one: the
// result of a step on the layer below. Records of another layer below are passed over. A store
// may have several layers of one chain: one that lies on the very layer below is preferred,
// then the one that was made when the record says, so that a build without changes finds the
// layers that it has made.
//
// What is found was created when the record says, since that goes into the image: the same
// records give the same image, wherever the layers came from.
func (s *Store) LayerOf(recs []records.Record, below *Layer) (*Layer, bool) {
	chain, known := below.Chain()
	if !known {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *Layer
	read := false
	for _, r := range recs {
		if r.Below != chain {
			continue
		}
		if r.Chain == chain {
			return below, true
		}
		l := s.ofRecord(r, below)
		if l == nil && found == nil && !read && s.readLayers() == nil {
			read = true
			l = s.ofRecord(r, below)
		}
		if l != nil && l.parent.ID() == below.ID() {
			return l.datedBy(r, below), true
		}
		if found == nil && l != nil {
			found = l.datedBy(r, l.parent)
		}
	}
	return found, found != nil
}

// ofRecord finds the layer for a record in what is known of the store. The caller holds s.mu.
func (s *Store) ofRecord(r records.Record, below *Layer) *Layer {
	var best *Layer
	most := -1
	for _, record := range s.index.diffs[r.DiffID] {
		l, err := s.indexed(record.ID)
		if err != nil || l.chain != r.Chain {
			continue
		}
		fit := 0
		if l.parent.ID() == below.ID() {
			fit = 2
		}
		if l.created.Equal(r.Created) {
			fit++
		}
		if fit > most && l.present() {
			best, most = l, fit
		}
	}
	return best
}

// datedBy is the layer on its parent, which may be dated too, as the record dates it.
func (l *Layer) datedBy(r records.Record, parent *Layer) *Layer {
	if l.created.Equal(r.Created) && (parent == nil || !parent.dated) {
		return l
	}
	return &Layer{id: l.id, parent: parent, path: l.path, done: ended(), chain: l.chain,
		stream: stream{diffID: l.diffID, size: l.size}, created: r.Created, dated: true}
}

// LayerOfDiff finds any layer with the digest that the first of some records tells of, on
// whatever it lies: its files without those below it.
func (s *Store) LayerOfDiff(recs []records.Record) (*Layer, bool) {
	if len(recs) == 0 {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 {
		for _, r := range recs {
			for _, record := range s.index.diffs[r.DiffID] {
				if l, err := s.indexed(record.ID); err == nil && l.present() {
					return l, true
				}
			}
		}
		if s.readLayers() != nil {
			break
		}
	}
	return nil, false
}

// Remembered is the layer on l that a record tells of, without its files: it is only good for looking
// up what was made on it. See Gone.
func (l *Layer) Remembered(r records.Record) *Layer {
	return &Layer{gone: remembered, parent: l, done: ended(), chain: r.Chain, stream: stream{diffID: r.DiffID, size: r.Size}, created: r.Created}
}

// Elsewhere is Remembered for a layer that can be had from elsewhere, by FetchLayers, as those below it can that are
// not in the store.
func (l *Layer) Elsewhere(r records.Record) *Layer {
	is := l.Remembered(r)
	if !l.Gone() || l.IsElsewhere() {
		is.gone = elsewhere
	}
	return is
}

// ElsewhereLayers are the layers of an image that is not in the store, by the digests in its configuration, which
// nobody has compared with anything: only what is found on them is of use.
func (*Store) ElsewhereLayers(diffIDs []digest.Digest) (*Layer, error) {
	var l *Layer
	for _, d := range diffIDs {
		if !records.Usable(d) {
			return nil, fmt.Errorf("the configuration of the image has the layer %.80q, which is no SHA-256 digest", d)
		}
		chain, _ := l.Chain()
		l = l.Elsewhere(records.Record{Chain: records.ChainID(chain, d), DiffID: d})
	}
	return l, nil
}

// absence is whether a layer has no files in the store.
type absence byte

const (
	remembered absence = iota + 1
	elsewhere
)

// Gone says that the layer is one that Remembered or Elsewhere gave: it has no files here. It has no id.
func (l *Layer) Gone() bool { return l != nil && l.gone != 0 }

// IsElsewhere says that the layer is one that Elsewhere gave, and can be had.
func (l *Layer) IsElsewhere() bool { return l != nil && l.gone == elsewhere }

// Here is the uppermost of a layer and those below it that has files here.
func (l *Layer) Here() *Layer {
	for l.Gone() {
		l = l.parent
	}
	return l
}

// Records are what is known of steps, in a directory beside the store.
func (s *Store) Records() records.Records { return s.records }
