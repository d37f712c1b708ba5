//go:build linux

package filecopy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/internal/owners/ownerstest"
)

// tree is a directory with what its files should be.
type tree struct {
	dir *os.File
	*owners.Owners
}

func newTree(t *testing.T, in, name string) tree {
	t.Helper()
	if err := os.Mkdir(filepath.Join(in, name), 0o755); err != nil {
		t.Fatal(err)
	}
	return tree{openDir(t, filepath.Join(in, name)), owners.New()}
}

// fill makes files such as images have.
func (f tree) fill(t *testing.T) {
	t.Helper()
	at := func(name string) string { return filepath.Join(f.dir.Name(), name) }
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	err := errors.Join(
		os.Mkdir(at("closed"), 0o755), os.WriteFile(at("closed/f"), []byte("f"), 0o644),
		f.Chown(f.dir, "closed/f", 33, 34), f.Chmod(f.dir, "closed/f", 0o004),
		f.Chown(f.dir, "closed", 70000, 5), f.Chmod(f.dir, "closed", 0o2010),
		os.WriteFile(at("set-id"), []byte("s"), 0o644), f.Chown(f.dir, "set-id", 0, 42), f.Chmod(f.dir, "set-id", 0o6755),
		f.Setxattr(f.dir, "set-id", "security.capability", capability), f.Setxattr(f.dir, "set-id", "user.x", []byte("y")),
		os.Link(at("set-id"), at("linked")),
		os.Symlink("closed/f", at("link")), f.Chown(f.dir, "link", 1000, 1001),
		f.Mknod(f.dir, "device", unix.S_IFCHR|0o600, unix.Mkdev(1, 9)), f.Chown(f.dir, "device", 0, 6), f.Chmod(f.dir, "device", 0o640),
		f.Mknod(f.dir, "pipe", unix.S_IFIFO|0o600, 0), f.Chmod(f.dir, "pipe", 0o600),
		os.WriteFile(at("plain"), []byte("p"), 0o644), f.Chown(f.dir, "plain", 0, 0), f.Chmod(f.dir, "plain", 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// list is all that is known of the files below a directory.
func (f tree) list(t *testing.T, below string) []string {
	t.Helper()
	var all []string
	err := eachBelow(openDir(t, filepath.Join(f.dir.Name(), below)), f.Owners, "", func(in *os.File, name, at string, st *unix.Stat_t) error {
		attrs, err := f.Xattrs(in, name, func(attr string) bool { return !strings.HasPrefix(attr, "security.selinux") })
		all = append(all, fmt.Sprintf("%s %o %d:%d %d %d %v", at, st.Mode, st.Uid, st.Gid, st.Rdev, st.Nlink, attrs))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A copy of an image's files is the same whoever makes it, and so is its digest.
func TestOwnersAreCopied(t *testing.T) {
	ownerstest.Kinds(t, func(t *testing.T, dir string) {
		from, to := newTree(t, dir, "from"), newTree(t, dir, "to")
		from.fill(t)
		want := from.list(t, "")
		if !slices.Contains(want, "closed 42010 70000:5 0 2 []") || !slices.Contains(want, "device 20640 0:6 265 1 []") {
			t.Fatalf("the files are %q", want)
		}
		src := Tree{Root: from.dir, Owners: from.Owners}
		digests, err := Copy(t.Context(), Target{Root: to.dir, Owners: to.Owners, Dest: "/made/on the way/", Owner: IDs{7, 8}}, []Tree{src})
		if err != nil {
			t.Fatal(err)
		}
		if got := to.list(t, "made/on the way"); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := to.list(t, "made"); !slices.Contains(got, "on the way 40755 7:8 0 3 []") {
			t.Errorf("on the way: %q", got)
		}
		read, err := Digest(t.Context(), src)
		if err != nil || read != digests[0] {
			t.Errorf("digest %s, of the copy %s, %v", read, digests[0], err)
		}
		const known = "6955153031d642b387d4795b416d8a8375ff097a760ba1e45bd722f7b972b9ac"
		if read != known {
			t.Errorf("digest %s, of others %s", read, known)
		}
	})
}

// COPY --chown and --chmod, and a file in the place of one with another owner.
func TestOwnersAreChosen(t *testing.T) {
	ownerstest.Kinds(t, func(t *testing.T, dir string) {
		from, to := newTree(t, dir, "from"), newTree(t, dir, "to")
		from.fill(t)
		mode, err := ParseMode("u=rwxs,g=,o=x")
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			src  Tree
			want []string
		}{
			{Tree{Selection: Selection{Patterns: []string{"set-id", "device"}}, Owner: &IDs{1000, 70000}, Mode: &mode}, []string{
				"device 24701 1000:70000 265 1 []",
				"set-id 104701 1000:70000 0 1 [{security.capability [1 0 0 2 0 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0]} {user.x [121]}]",
			}},
			{Tree{Selection: Selection{Patterns: []string{"closed/f"}}}, []string{
				"device 24701 1000:70000 265 1 []",
				"f 100004 33:34 0 1 []",
				"set-id 104701 1000:70000 0 1 [{security.capability [1 0 0 2 0 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0]} {user.x [121]}]",
			}},
			{Tree{Selection: Selection{Patterns: []string{"plain"}}}, nil},
		} {
			step.src.Root, step.src.Owners = from.dir, from.Owners
			target := Target{Root: to.dir, Owners: to.Owners, Dest: "/"}
			if step.want == nil {
				target.Dest, step.want = "/f", []string{
					"device 24701 1000:70000 265 1 []", "f 100644 0:0 0 1 []",
					"set-id 104701 1000:70000 0 1 [{security.capability [1 0 0 2 0 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0]} {user.x [121]}]",
				}
			}
			if _, err := Copy(t.Context(), target, []Tree{step.src}); err != nil {
				t.Fatal(err)
			}
			if got := to.list(t, ""); !slices.Equal(got, step.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(step.want, "\n"))
			}
		}
	})
}

// What takes the place of a file, and soon its number, has nothing of it.
func TestOwnersAreForgotten(t *testing.T) {
	ownerstest.Kinds(t, func(t *testing.T, dir string) {
		from, to := newTree(t, dir, "from"), newTree(t, dir, "to")
		from.fill(t)
		for range 20 {
			for _, name := range []string{"set-id", "plain"} {
				src := Tree{Root: from.dir, Owners: from.Owners, Selection: Selection{Patterns: []string{name}}}
				if _, err := Copy(t.Context(), Target{Root: to.dir, Owners: to.Owners, Dest: "/f"}, []Tree{src}); err != nil {
					t.Fatal(err)
				}
			}
			if got := to.list(t, ""); !slices.Equal(got, []string{"f 100644 0:0 0 1 []"}) {
				t.Fatalf("got %q", got)
			}
		}
	})
}

// Capabilities of files are other ones in a user namespace, so that their digest is made there alone.
func TestOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	own := owners.New()
	tree := Tree{Root: root, Owners: own, Owner: &IDs{}, Outside: true}
	if _, err := Digest(t.Context(), tree); err != nil {
		t.Error(err)
	}
	if err := own.Setxattr(root, "f", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	if digest, err := Digest(t.Context(), tree); !errors.Is(err, ErrOutside) {
		t.Errorf("digest %s, %v", digest, err)
	}
	tree.Outside = false
	if _, err := Digest(t.Context(), tree); err != nil {
		t.Error(err)
	}
}
