//go:build linux

package filecopy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A digest is part of the keys under which steps are found again, so it stays what it was.
func TestDigestStays(t *testing.T) {
	t.Parallel()
	root := makeTree(t, "a empty/ l->a")
	dir := root.Name()
	for i := range 3 * 512 {
		sub := filepath.Join(dir, "many", fmt.Sprint(i%3), fmt.Sprint(i/2%2))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "many/1/b")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch { // whatever the umask is
		case err != nil || entry.Type() == fs.ModeSymlink:
			return err
		case entry.IsDir():
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		source     Tree
	}{
		{"all", "8e948492317ce5dc1097664623f128eb0c2cb2893f2c2b3a1d933ab5ccb649bb", Tree{}},
		{"but some", "bb35c6607609e8f74e9dbd827ae1ae156ac1c3e565bd7889f2ebe48921c50427", Tree{Selection: Selection{Ignore: []string{"many/1", "**/*7", "!many/1/0/4*"}}}},
		{"excluded", "c5588264c2a83d228cf152ea5a8c2eb045c5f1ee89127bd7660f17ad1b0e3338", Tree{Selection: Selection{Exclude: []string{"many/2", "**/*5"}}}},
		{"one", "18e06b2f96cb55fa5a2225b1a806c1bfed0766184872e87164ec7a9cd29c90bc", Tree{Selection: Selection{Patterns: []string{"many/[02]/1"}}}},
	} {
		test.source.Root, test.source.Owner = root, &IDs{}
		if got, err := Digest(t.Context(), test.source); err != nil || got != test.want {
			t.Errorf("%s: %s, %v", test.name, got, err)
		}
	}
}

// Names that a file has outside of what is copied change nothing, those within do.
func TestDigestOfSeveralNames(t *testing.T) {
	t.Parallel()
	root := makeTree(t, "a b")
	digest := func() string {
		t.Helper()
		got, err := Digest(t.Context(), Tree{Root: root, Owner: &IDs{}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	in := func(name string) string { return filepath.Join(root.Name(), name) }
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(in(name), []byte("same"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	alone := digest()
	if err := os.Link(in("a"), filepath.Join(t.TempDir(), "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if digest() != alone {
		t.Error("a name elsewhere changes the digest")
	}
	if err := errors.Join(os.Remove(in("b")), os.Link(in("a"), in("b"))); err != nil {
		t.Fatal(err)
	}
	if digest() == alone {
		t.Error("two names of one file have the digest of two files")
	}
}
