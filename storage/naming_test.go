//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// watched is a store that looks at an image after each change of it, as podman image
// prune may at any moment.
type watched struct {
	cs.Store
	t testing.TB
}

func (w watched) look(id string) {
	w.t.Helper()
	if img, err := w.Image(id); err != nil || len(img.Names) == 0 {
		w.t.Errorf("the image %s is there with the names %v, %v", id, img, err)
	}
}

func (w watched) CreateImage(id string, names []string, layer, metadata string, opts *cs.ImageOptions) (*cs.Image, error) {
	img, err := w.Store.CreateImage(id, names, layer, metadata, opts)
	if err == nil {
		w.look(id)
	}
	return img, err
}

func (w watched) AddNames(id string, names []string) error {
	err := w.Store.AddNames(id, names)
	w.look(id)
	return err
}

func (w watched) RemoveNames(id string, names []string) error {
	err := w.Store.RemoveNames(id, names)
	w.look(id)
	return err
}

// through has a store use another one below it, also when it marks by itself which layers are in use.
func through(s *Store, below cs.Store) {
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	s.cs = below
}

// An image is at no moment without a name, so that nothing that removes images without
// names can take it: not one that is built, nor one that is pulled, also where another
// image has the name before.
func TestNamedAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	through(s, watched{s.cs, t})
	l := layer(t, s, nil, "f", "")
	made := func(author string, names ...string) Image {
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
		return img
	}
	made("first", "app", "app:one")
	second := made("second", "new", "app", "app:two")
	made("second", "new", "app", "app:two") // it is there
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
	made("third", "app")
	pulled, err := s.Pull(t.Context(), archive, platform.Platform{}, registry.Access{})
	if err != nil || pulled.ID != second.ID || !slices.Equal(pulled.Names, []string{"localhost/app:latest"}) {
		t.Errorf("pulled %+v, %v; want %s", pulled, err, second.ID)
	}
}

// pruning is a store of which another process removes an image just after it was found, or
// after it got a name.
type pruning struct {
	cs.Store
	id    string
	named bool
}

func (p *pruning) AddNames(id string, names []string) error {
	err := p.Store.AddNames(id, names)
	if err == nil && p.named && id == p.id {
		p.id = ""
		time.AfterFunc(settled/4, func() { _, _ = p.DeleteImage(id, true) })
	}
	return err
}

func (p *pruning) Image(id string) (*cs.Image, error) {
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
		through(s, &pruning{plain, unnamed.ID, test.named})
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
