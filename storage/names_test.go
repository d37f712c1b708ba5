//go:build linux

package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/storage/imageref"
)

func TestFind(t *testing.T) {
	t.Parallel()
	s := open(t)
	top := layer(t, s, nil, "f", "one")
	img := commit(t, s, top, "app", "example.com/team/app:v1", "docker.io/library/hub:latest")
	other := commit(t, s, layer(t, s, top, "g", "two"), "other", "app:v2")
	for ref, want := range map[string]Image{
		"app": img, "app:latest": img, "localhost/app": img, "app:v2": other, "example.com/team/app:v1": img,
		"hub": img, "docker.io/hub": img, "docker.io/library/hub:latest": img, "other": other,
		img.ID: img, img.ID[:12]: img, other.ID[:8]: other, "sha256:" + img.ID: img,
		"app@" + img.Digest.String(): img, "other@" + other.Digest.String(): other, "example.com/team/app@" + img.Digest.String(): img,
	} {
		if got, err := s.Find(ref); err != nil || got.ID != want.ID {
			t.Errorf("%q: got %.12s, %v, want %.12s", ref, got.ID, err, want.ID)
		}
	}
	for _, ref := range []string{"nope", "app:v3", "team/app", "example.com/app:v1", img.ID[:2], strings.Repeat("0", 64),
		"other@" + img.Digest.String(), "app@sha256:" + strings.Repeat("0", 64)} {
		if got, err := s.Find(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %.12s, %v, want ErrNotFound", ref, got.ID, err)
		}
	}
	for _, ref := range []string{"", "UPPER", "a b", "app@sha256:short"} {
		if got, err := s.Find(ref); !errors.Is(err, imageref.ErrInvalid) {
			t.Errorf("%q: got %.12s, %v, want imageref.ErrInvalid", ref, got.ID, err)
		}
	}
}

// An image that another process removes after it was found is not found.
func TestRemovedAfterFind(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, layer(t, s, nil, "f", "one"), "app")
	img, err := s.find("app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove("app", false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.detail("app", img); errors.Is(err, ErrNotFound) || !errors.Is(s.unlessRemoved("app", img, err), ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// An image that another one of the same name has replaced is still found by that name and its digest, here and by Podman.
func TestFindReplaced(t *testing.T) {
	t.Parallel()
	s := open(t)
	was := commit(t, s, layer(t, s, nil, "f", "one"), "app")
	commit(t, s, layer(t, s, nil, "f", "two"), "app")
	if got, err := s.Find("app@" + was.Digest.String()); err != nil || got.ID != was.ID || len(got.Names) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A name that looks like an id is still a name.
func TestFindNameLikeID(t *testing.T) {
	t.Parallel()
	s := open(t)
	img := commit(t, s, layer(t, s, nil, "f", "one"), "cafe", "abc:1")
	for _, ref := range []string{"cafe", "abc:1", "localhost/cafe"} {
		if got, err := s.Find(ref); err != nil || got.ID != img.ID {
			t.Errorf("%q: got %.12s, %v", ref, got.ID, err)
		}
	}
	removed, err := s.Remove("cafe", false, false)
	if err != nil || !slices.Equal(removed.Untagged, []string{"localhost/cafe:latest"}) || len(removed.Deleted) != 0 {
		t.Errorf("%+v: %v", removed, err)
	}
}

func TestTagMovesNames(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := commit(t, s, layer(t, s, nil, "f", "one"), "one", "name")
	two := commit(t, s, layer(t, s, nil, "f", "two"), "two")
	if err := s.Tag("two", []string{"name", "more:x"}); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"name": two.ID, "more:x": two.ID, "one": one.ID, "two": two.ID} {
		if got, err := s.Find(ref); err != nil || got.ID != want {
			t.Errorf("%q: got %.12s, %v, want %.12s", ref, got.ID, err, want)
		}
	}
	if err := s.Tag("one", []string{"fine", "BAD"}); !errors.Is(err, imageref.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Find("fine"); err == nil {
		t.Error("half of the names were given")
	}
}
