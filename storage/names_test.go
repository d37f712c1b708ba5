//go:build linux

package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"app": "localhost/app:latest", "app:v1": "localhost/app:v1", "team/app": "localhost/team/app:latest", "localhost/app": "localhost/app:latest",
		"localhost:5000/app": "localhost:5000/app:latest", "example.com/app:x": "example.com/app:x", "docker.io/app": "docker.io/library/app:latest",
		"docker.io/library/app": "docker.io/library/app:latest", "docker.io/team/app:1": "docker.io/team/app:1", "127.0.0.1:1/app": "127.0.0.1:1/app:latest",
		"a.b/c": "a.b/c:latest", "a/b/c/d": "localhost/a/b/c/d:latest", "x_y--z": "localhost/x_y--z:latest",
	} {
		if got, err := Canonical(name); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "UPPER", "a b", "a:", ":a", "/a", "a/", "a//b", "a@b", "a@sha256:" + strings.Repeat("0", 64), "a:b:c", "-a", "http://a/b",
		strings.Repeat("0", 64), "a:" + strings.Repeat("x", 129), "a\n", "docker://a"} {
		if got, err := Canonical(name); !errors.Is(err, ErrReference) {
			t.Errorf("%q: got %q, %v, want ErrReference", name, got, err)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"app", "docker.io/app", "a:b@sha256:x", "localhost:5000/a/b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		full, err := Canonical(name)
		if err != nil {
			if !errors.Is(err, ErrReference) {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if again, err := Canonical(full); err != nil || again != full {
			t.Errorf("%q is %q, and that is %q, %v", name, full, again, err)
		}
	})
}

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
		if got, err := s.Find(ref); !errors.Is(err, ErrReference) {
			t.Errorf("%q: got %.12s, %v, want ErrReference", ref, got.ID, err)
		}
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
	untagged, deleted, err := s.Remove("cafe", false, false)
	if err != nil || !slices.Equal(untagged, []string{"localhost/cafe:latest"}) || len(deleted) != 0 {
		t.Errorf("untagged %q, deleted %q: %v", untagged, deleted, err)
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
	if err := s.Tag("one", []string{"fine", "BAD"}); !errors.Is(err, ErrReference) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Find("fine"); err == nil {
		t.Error("half of the names were given")
	}
}
