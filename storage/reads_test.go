//go:build linux

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"

	"github.com/oakum-build/oakum/storage/records"
)

// key is the n-th of any number of digests.
func key(n int) string { return fmt.Sprintf("%064x", n) }

// recordOf is the record of a step that made l on the layer below; l may be that itself.
func recordOf(t testing.TB, k, content int, below, l *Layer) records.Record {
	t.Helper()
	chain, known := below.Chain()
	r := records.Record{Key: key(k), Below: chain, Chain: chain}
	if content > 0 {
		r.Content = key(content)
	}
	if l != below {
		r.Chain, r.DiffID, r.Size, r.Created = l.chain, l.DiffID(), l.Size(), l.Created()
	}
	if !known || r.Check() != nil {
		t.Fatalf("record %+v: %v", r, r.Check())
	}
	return r
}

// record records a step that made l on the layer below.
func record(t testing.TB, s *Store, k, content int, below, l *Layer) {
	t.Helper()
	if err := s.Records().Put(t.Context(), recordOf(t, k, content, below, l)); err != nil {
		t.Fatal(err)
	}
}

func TestContents(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, ok := s.Content(key(1)); ok {
		t.Error("a content that nobody told")
	}
	if err := s.RememberContent(key(1), key(2)); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Content(key(1)); !ok || got != key(2) {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, bad := range [][2]string{{"../x", key(1)}, {"", key(1)}, {key(1), ""}, {key(1), key(2)[1:]}} {
		if err := s.RememberContent(bad[0], bad[1]); err == nil {
			t.Errorf("remembered %q", bad)
		}
	}
	big := key(2)
	for range 2000 {
		big += " " + key(3)
	}
	for _, text := range []string{"", key(2)[:63], key(2) + "\n", "\x00", key(2) + " x", big} {
		if err := s.private.WriteFile("reads/"+key(1), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Content(key(1)); ok {
			t.Errorf("%.80q is content %q", text, got)
		}
	}
}

// Prune keeps what leads from a layer that is gone to a result that is there, and no more.
func TestRemember(t *testing.T) {
	t.Parallel()
	s := open(t)
	var gone []*Layer // each on the one before
	for _, name := range []string{"a", "b", "c", "other"} {
		var below *Layer
		if len(gone) > 0 && name != "other" {
			below = gone[len(gone)-1]
		}
		gone = append(gone, layer(t, s, below, "f", name))
	}
	live := layer(t, s, nil, "f", "live")
	remember := func(k, content int, layers ...*Layer) {
		t.Helper()
		var chains []digest.Digest
		for _, l := range layers {
			chains = append(chains, l.chain)
		}
		if err := s.RememberContent(key(k), key(content), chains...); err != nil {
			t.Fatal(err)
		}
	}
	record(t, s, 1, 0, nil, gone[0])
	record(t, s, 2, 21, gone[0], gone[1]) // copied from the other
	record(t, s, 3, 0, gone[1], gone[2])  // leads nowhere
	record(t, s, 4, 0, nil, gone[3])
	record(t, s, 5, 22, nil, live)       // copied from gone[1]
	record(t, s, 6, 0, gone[1], gone[1]) // did nothing
	remember(11, 22, gone[1])
	remember(12, 21, gone[3])
	remember(13, 23, gone[2]) // of which there is no result
	remember(14, 14)
	for _, l := range []*Layer{gone[2], gone[1], gone[0], gone[3]} {
		if err := s.cs.DeleteLayer(l.ID()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Remembers() {
		t.Error("something is remembered before a prune")
	}
	for _, dir := range oldDirs { // of an older release
		if err := s.private.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := s.private.WriteFile(dir+"/"+key(1), []byte("- "+live.ID()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.forgetSteps(); err != nil {
			t.Fatal(err)
		}
		steps, err := s.names("records")
		slices.Sort(steps)
		if want := []string{key(1), key(2), key(4), key(5), key(6)}; err != nil || !slices.Equal(steps, want) {
			t.Fatalf("records %q, want %q (%v)", steps, want, err)
		}
		contents, err := s.names("reads")
		slices.Sort(contents)
		if want := []string{key(11), key(12)}; err != nil || !slices.Equal(contents, want) {
			t.Fatalf("contents %q, want %q (%v)", contents, want, err)
		}
		of, err := s.Records().Get(t.Context(), key(1))
		if err != nil || len(of) != 1 || !s.Remembers() {
			t.Fatalf("%d records are remembered (%v)", len(of), err)
		}
		if _, ok := s.LayerOf(of, nil); ok {
			t.Error("a layer that is gone is a result")
		}
		first := (*Layer)(nil).Remembered(of[0])
		of, _ = s.Records().Get(t.Context(), key(2))
		l := first.Remembered(of[0])
		if chain, known := l.Chain(); !known || chain != gone[1].chain || !l.Gone() || l.ID() != "" || l.DiffID() != gone[1].DiffID() || l.Size() != gone[1].Size() || !l.Created().Equal(gone[1].Created()) {
			t.Errorf("remembered %+v, it was %+v", l, gone[1])
		}
		if _, err := l.Lowers(); err == nil {
			t.Error("its files can be opened")
		}
	}
	for _, dir := range oldDirs {
		if _, err := s.private.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s stays: %v", dir, err)
		}
	}
	if err := s.cs.DeleteLayer(live.ID()); err != nil {
		t.Fatal(err)
	}
	if err := s.forgetSteps(); err != nil {
		t.Fatal(err)
	}
	if steps, err := s.names("records"); len(steps) > 0 || err != nil || s.Remembers() {
		t.Errorf("without the result, %q stay (%v)", steps, err)
	}
}

// A record of a layer that can go on any others stays as long as that layer does.
func TestRememberLinked(t *testing.T) {
	t.Parallel()
	s := open(t)
	base := layer(t, s, nil, "f", "base")
	linked := layer(t, s, base, "g", "linked")
	free := records.Record{Key: key(1), DiffID: linked.DiffID(), Chain: linked.DiffID()}
	if err := s.Records().Put(t.Context(), free); err != nil {
		t.Fatal(err)
	}
	of := []records.Record{free}
	for _, there := range []bool{true, false} {
		if err := s.forgetSteps(); err != nil {
			t.Fatal(err)
		}
		names, err := s.names("records")
		if err != nil || (len(names) == 1) != there {
			t.Errorf("records %q, with its layer %v (%v)", names, there, err)
		}
		l, ok := s.LayerOfDiff(of)
		if ok != there || there && l.ID() != linked.ID() {
			t.Errorf("found %v, %v", l.ID(), ok)
		}
		if _, ok := s.LayerOf(of, nil); ok {
			t.Error("it is found on nothing")
		}
		if there {
			if err := s.cs.DeleteLayer(linked.ID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := s.LayerOfDiff(nil); ok {
		t.Error("a layer of no record")
	}
}

// dated is a layer with one file of a fixed time, so that its digest is always the same.
func dated(t testing.TB, s *Store, below *Layer, name string) *Layer {
	t.Helper()
	l, err := makeLayer(t, s, below, func(dir string) error {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
		return os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0))
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayerOf(t *testing.T) {
	t.Parallel()
	s := open(t)
	one, same := dated(t, s, nil, "a"), dated(t, s, nil, "a")
	if one.chain != same.chain || one.chain != one.DiffID() || one.ID() == same.ID() {
		t.Fatalf("%+v and %+v", one, same)
	}
	two, three := dated(t, s, one, "b"), dated(t, s, same, "b")
	if two.chain != three.chain || two.chain != records.ChainID(one.DiffID(), two.DiffID()) {
		t.Fatalf("%+v and %+v", two, three)
	}
	of := func(below, l *Layer) records.Record { return recordOf(t, 1, 0, below, l) }
	find := func(name string, below, want *Layer, recs ...records.Record) *Layer {
		t.Helper()
		got, ok := s.LayerOf(recs, below)
		if ok != (want != nil) || got.ID() != want.ID() {
			t.Errorf("%s: found %.8s, %v, want %.8s", name, got.ID(), ok, want.ID())
		}
		return got
	}
	find("nothing", nil, nil)
	find("one", nil, one, of(nil, one))
	find("its twin", nil, same, of(nil, same)) // by the time
	find("the newest", nil, same, of(nil, same), of(nil, one))
	find("on the first", one, two, of(one, three)) // by the layer below
	find("on its twin", same, three, of(one, two), of(one, two))
	find("another below", two, nil, of(one, two))
	find("nothing below", nil, nil, of(one, two))
	find("what did nothing", two, two, of(two, two))
	other := of(one, two)
	other.DiffID, other.Chain = one.DiffID(), records.ChainID(one.chain, one.DiffID())
	find("a layer that is elsewhere", one, nil, other)
	wrong := of(one, two)
	wrong.Chain = other.Chain
	find("another chain", one, nil, wrong)
	find("after what is not there", one, two, other, of(one, two))

	// What came from elsewhere is dated by the record.
	then := time.Unix(5, 0)
	first, second := of(nil, one), of(one, two)
	first.Created, second.Created = then, then
	l := find("of another time", find("of another time", nil, one, first), two, second)
	for r := l; r != nil; r = r.Parent() {
		if !r.Created().Equal(then) {
			t.Errorf("%s was created %s", r.ID(), r.Created())
		}
	}
	again, err := s.Layer(two.ID())
	if err != nil || !again.Created().Equal(two.Created()) {
		t.Errorf("by its id it was created %s (%v)", again.Created(), err)
	}

	// Another process's layers are found, and those that go are not.
	other2 := openIn(t, s.cs.GraphRoot())
	later := dated(t, other2, nil, "later")
	if err := other2.Close(); err != nil {
		t.Fatal(err)
	}
	find("another process's", nil, later, of(nil, later))
	for _, l := range []*Layer{three, same} {
		if err := s.cs.DeleteLayer(l.ID()); err != nil {
			t.Fatal(err)
		}
	}
	find("the twin of what is gone", nil, one, of(nil, same))
	find("on it", one, two, of(one, three))
}

// A layer that is being registered has no chain yet, and nothing is found on it.
func TestChainIsPending(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := dated(t, s, nil, "a")
	hold := make(chan struct{})
	pending := &Layer{id: key(1), parent: one, done: hold}
	if chain, known := pending.Chain(); known || chain != "" {
		t.Errorf("chain %s, %v", chain, known)
	}
	if _, ok := s.LayerOf([]records.Record{recordOf(t, 1, 0, nil, one)}, pending); ok {
		t.Error("found on a layer of which nothing is known")
	}
	if chain, known := (*Layer)(nil).Chain(); !known || chain != "" {
		t.Errorf("the empty root is %s, %v", chain, known)
	}
	close(hold)
	pending.err = os.ErrInvalid
	if _, known := pending.Chain(); known {
		t.Error("the chain of a layer that failed")
	}
}

// A layer without a digest has a chain that is of this store alone, whatever an image says of
// it, and so have those on it. Steps on it are found again.
func TestLayerWithoutDigest(t *testing.T) {
	t.Parallel()
	var chains []digest.Digest
	for range 2 {
		s := open(t)
		made, err := s.cs.CreateLayer("", "", nil, "", false, nil)
		if err != nil {
			t.Fatal(err)
		}
		base, err := s.Layer(made.ID)
		if err != nil || base.DiffID() != "" {
			t.Fatalf("%+v, %v", base, err)
		}
		top := dated(t, s, base, "f")
		record(t, s, 1, 0, base, top)
		of, err := s.Records().Get(t.Context(), key(1))
		if l, ok := s.LayerOf(of, base); err != nil || !ok || l.ID() != top.ID() {
			t.Errorf("found %+v, %v, %v", l, ok, err)
		}
		chains = append(chains, base.chain, top.chain)
	}
	slices.Sort(chains)
	if len(slices.Compact(chains)) != 4 {
		t.Errorf("chains %s", chains)
	}
}

// The copy that Podman makes of a layer for a container with mapped ids has the digest of the
// layer and, where the file system cannot show other owners than it has, files of other owners: it
// is no result. Neither is a layer that another process has not finished.
func TestUnfitLayers(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := dated(t, s, nil, "a")
	r := recordOf(t, 1, 0, nil, one)
	for name, change := range map[string]func(*cs.Layer){
		"":                  func(*cs.Layer) {},
		"mapped users":      func(l *cs.Layer) { l.UIDMap = []idtools.IDMap{{ContainerID: 0, HostID: 1, Size: 100}} },
		"mapped groups":     func(l *cs.Layer) { l.GIDMap = []idtools.IDMap{{ContainerID: 0, HostID: 1, Size: 100}} },
		"what is not ready": func(l *cs.Layer) { l.Flags = map[string]any{"incomplete": true} },
	} {
		if err := s.readLayers(); err != nil {
			t.Fatal(err)
		}
		l := *s.index.records[one.ID()]
		change(&l)
		s.index.diffs = map[digest.Digest][]*cs.Layer{}
		s.indexRecord(&l)
		if found := s.ofRecord(r, nil); (found != nil) != (name == "") {
			t.Errorf("%s: found %v", name, found != nil)
		}
	}
}
