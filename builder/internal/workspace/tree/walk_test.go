//go:build linux

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A list has each file below a directory once, in order, as stat(2) tells of it.
func TestList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// More names than are read at once, of all lengths.
	put(os.Mkdir(dir+"/wide", 0o755))
	for i := range 2000 {
		put(os.WriteFile(fmt.Sprintf("%s/wide/%s%04d", dir, strings.Repeat("n", i%252), i), nil, 0o644))
	}
	deep := dir
	for i := range 40 {
		deep += fmt.Sprintf("/%d", i%3)
		put(os.MkdirAll(deep+"/beside/below", 0o700))
		put(os.WriteFile(deep+"/..a\nb\xff", []byte("x"), 0o640))
	}
	put(os.Symlink("/nowhere", deep+"/link"))
	put(os.Link(deep+"/..a\nb\xff", dir+"/hard"))
	put(unix.Mkfifo(dir+"/fifo", 0o600))
	far := unix.Timespec{Sec: 1 << 33, Nsec: 7}
	put(unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/fifo", []unix.Timespec{far, far}, 0))

	top, err := os.Open(dir)
	put(err)
	defer top.Close()
	n, err := list(top)
	put(err)
	files := n.all()
	put(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		var born unix.Statx_t
		if err == nil {
			err = errors.Join(unix.Lstat(path, &st), unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &born))
		}
		if len(files) == 0 || err != nil {
			t.Fatalf("the list ends before %s (%v)", path, err)
		}
		got, want := files[0], node{name: e.Name(), state: stateOf(&st)}
		files = files[1:]
		if path == dir {
			want.name = "" // nor is the time of birth of the root asked for
		} else if e.IsDir() {
			want.born = born.Btime
		}
		if got.state != want.state || got.name != want.name {
			t.Fatalf("%s: %q %+v, want %+v", path, got.name, got.state, want)
		}
		return nil
	}))
	if len(files) > 0 {
		t.Errorf("the list has %q, which is not there", files[0].name)
	}
}

// all are a file and those below it, in the order of filepath.WalkDir.
func (n *node) all() []*node {
	files := []*node{n}
	for i := range n.files {
		files = append(files, n.files[i].all()...)
	}
	return files
}
