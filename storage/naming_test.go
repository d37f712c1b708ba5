//go:build linux

package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// listWrites gives a function that tells how often the list of a store's images was written since the last call: by writing a
// file and giving that its name.
func listWrites(t *testing.T, s *Store) func() int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	list, err := s.imageList()
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, list.dir, unix.IN_MOVED_TO)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() int {
		buf := make([]byte, 1<<16)
		n, err := unix.Read(fd, buf)
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return bytes.Count(buf[:max(n, 0)], []byte("images.json"))
	}
}

// through has a store use another one below it, also when it marks by itself which layers are in use.
func through(s *Store, below cs.Store) {
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	s.cs = below
}

// An image is there at once, with its manifest and its names, so that nothing that removes images without
// names can take it: one that is built as one that is pulled, also where another image has the name before.
func TestNamedAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "")
	writes := listWrites(t, s)
	made := func(author string, times int, names ...string) Image {
		t.Helper()
		img, err := s.CommitImage(t.Context(), Commit{Top: l, Names: names, Config: func(ids []digest.Digest, _ []time.Time) (json.RawMessage, time.Time, error) {
			raw, err := json.Marshal(map[string]any{
				"author": author, "architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
			})
			return raw, time.Unix(1, 0), err
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range names {
			names[i], _ = imageref.Canonical(n)
		}
		if has := slices.Sorted(slices.Values(img.Names)); !slices.Equal(has, slices.Sorted(slices.Values(names))) {
			t.Errorf("%s has the names %v, want %v", author, img.Names, names)
		}
		if n := writes(); n != times {
			t.Errorf("the list was written %d times for %s, want %d", n, author, times)
		}
		return img
	}
	made("first", 1, "app", "app:one")
	second := made("second", 1, "new", "app", "app:two")
	made("second", 0, "new", "app", "app:two") // it is there
	if first, err := s.Find("app:one"); err != nil || len(first.Names) != 1 {
		t.Errorf("the first image: %+v, %v", first, err)
	}

	archive := "oci-archive:" + filepath.Join(t.TempDir(), "a")
	if _, err := s.Push(t.Context(), "app", archive+":localhost/app:latest", PushOptions{}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(second.ID, true, false); err != nil {
		t.Fatal(err)
	}
	writes()
	made("third", 1, "app")
	pulled, err := s.Pull(t.Context(), archive, platform.Platform{}, registry.Access{})
	if err != nil || pulled.ID != second.ID || !slices.Equal(pulled.Names, []string{"localhost/app:latest"}) {
		t.Errorf("pulled %+v, %v; want %s", pulled, err, second.ID)
	}
	if n := writes(); n != 1 {
		t.Errorf("the list was written %d times for what was pulled", n)
	}
}

// pruning is a store of which another process removes an image just after it was found, or
// after it got a name.
type pruning struct {
	cs.Store
	id    string
	named bool
	since time.Time // when the image got the name
}

func (p *pruning) AddNames(id string, names []string) error {
	err := p.Store.AddNames(id, names)
	if err == nil && p.named && id == p.id {
		p.since = time.Now()
	}
	return err
}

func (p *pruning) Image(id string) (*cs.Image, error) {
	if id == p.id && !p.since.IsZero() && time.Since(p.since) > settled/2 { // who looks sooner looks in vain
		p.id = ""
		if _, err := p.DeleteImage(id, true); err != nil {
			return nil, err
		}
	}
	img, err := p.Store.Image(id)
	if err == nil && !p.named && id == p.id {
		p.id = ""
		_, err = p.DeleteImage(id, true)
	}
	return img, err
}

// An image that is there without a name, and is pruned when it is about to get one, is made
// anew; without its layers the commit fails with that reason.
func TestPrunedBeforeItIsNamed(t *testing.T) {
	t.Parallel()
	s := open(t)
	kept, alone := layer(t, s, nil, "f", "1"), layer(t, s, nil, "f", "2")
	layer(t, s, kept, "g", "") // so that the one below stays
	for _, test := range []struct {
		top   *Layer
		named bool
	}{{kept, false}, {kept, true}, {alone, true}} {
		unnamed := commit(t, s, test.top)
		plain := s.cs
		through(s, &pruning{Store: plain, id: unnamed.ID, named: test.named})
		img, err := s.CommitImage(t.Context(), Commit{Top: test.top, Names: []string{"app"}, Config: config})
		through(s, plain)
		if test.top == alone {
			if !errors.Is(err, ErrRemoved) {
				t.Errorf("got %v", err)
			}
			continue
		}
		if err != nil || img.ID != unnamed.ID {
			t.Errorf("got %+v, %v", img, err)
		}
		if found, err := s.Find("app"); err != nil || found.ID != unnamed.ID {
			t.Errorf("found %+v, %v", found, err)
		}
		if err := s.cs.RemoveNames(img.ID, img.Names); err != nil {
			t.Fatal(err)
		}
	}
}

// tagging is a store in which another process names an image when that was looked up to be removed.
type tagging struct {
	cs.Store
	id, name string
}

func (g *tagging) Image(id string) (*cs.Image, error) {
	if name := g.name; id == g.id && name != "" {
		g.name = ""
		if err := g.AddNames(id, []string{name}); err != nil {
			return nil, err
		}
	}
	return g.Store.Image(id)
}

// A name that an image gets while it is removed by another one stays, and the image with it, as if it had had both before.
// By its id the image goes with force alone, or stays.
func TestNamedWhileRemoved(t *testing.T) {
	t.Parallel()
	s := open(t)
	const mine, others = "localhost/app:1", "localhost/app:2"
	for _, test := range []struct {
		byID, force, digested bool
		untagged, left        []string
	}{
		{untagged: []string{mine}, left: []string{others}},
		{force: true, untagged: []string{mine}, left: []string{others}},
		{byID: true, left: []string{mine, others}},
		{byID: true, force: true, untagged: []string{mine, others}},
		{digested: true, left: []string{others}}, // it had no name to be removed
	} {
		img := commit(t, s, layer(t, s, nil, "f", ""), "app:1")
		ref := "app:1"
		switch {
		case test.byID:
			ref = img.ID
		case test.digested:
			commit(t, s, layer(t, s, nil, "f", "another"), "app:1")
			ref = "localhost/app@" + img.Digest.String()
		}
		plain := s.cs
		through(s, &tagging{plain, img.ID, others})
		removed, err := s.Remove(ref, test.force, false)
		through(s, plain)
		if fails := test.untagged == nil; fails != errors.Is(err, ErrInUse) || !fails && err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		slices.Sort(removed.Untagged)
		if !slices.Equal(removed.Untagged, test.untagged) || (len(removed.Deleted) > 0) != (err == nil && test.left == nil) {
			t.Errorf("%+v: %+v", test, removed)
		}
		now, err := s.cs.Image(img.ID)
		if test.left == nil {
			if !errors.Is(err, cs.ErrImageUnknown) {
				t.Errorf("%+v: the image is there: %v", test, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		if slices.Sort(now.Names); !slices.Equal(now.Names, test.left) {
			t.Errorf("%+v: it has the names %v", test, now.Names)
		}
		if _, err := s.Remove(img.ID, true, false); err != nil {
			t.Error(err)
		}
	}
}
