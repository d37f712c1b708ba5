//go:build linux

package filecopy

import (
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
		{"all", "4851df478ffac3d902eecb12319c0c1ae6fe894d6a655d7a46461d38726d8060", Tree{}},
		{"but some", "eaba53248a53554eb7894ab449b76ae05b519a3f01d7ad36f5caf6a80875fe1a", Tree{Selection: Selection{Ignore: []string{"many/1", "**/*7", "!many/1/0/4*"}}}},
		{"excluded", "653c3aa6226eb173956173320d8c9e02e7fe44888194faf0cb565ad22a0593a3", Tree{Selection: Selection{Exclude: []string{"many/2", "**/*5"}}}},
		{"one", "18e06b2f96cb55fa5a2225b1a806c1bfed0766184872e87164ec7a9cd29c90bc", Tree{Selection: Selection{Patterns: []string{"many/[02]/1"}}}},
	} {
		test.source.Root, test.source.Owner = root, &IDs{}
		if got, err := Digest(t.Context(), test.source); err != nil || got != test.want {
			t.Errorf("%s: %s, %v", test.name, got, err)
		}
	}
}
