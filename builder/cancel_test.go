//go:build linux

package builder_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// hugeSize is more than any machine copies before a worker that does not stop is given up.
const hugeSize = 1 << 40

// huge is a directory with a file of that size that takes no space, and with an archive of as much. Its files are
// smaller, since one for which there is no room is refused at once.
func huge(t testing.TB) string {
	t.Helper()
	const part = 256 << 20
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "file"))
	ok(t, err)
	ok(t, errors.Join(file.Truncate(hugeSize), file.Close()))
	archive, err := os.Create(filepath.Join(dir, "archive"))
	ok(t, err)
	for i := range hugeSize / part {
		ok(t, tar.NewWriter(archive).WriteHeader(&tar.Header{Name: strconv.Itoa(i), Typeflag: tar.TypeReg, Mode: 0o644, Size: part}))
		_, err := archive.Seek(part, io.SeekCurrent)
		ok(t, err)
	}
	end, err := archive.Seek(0, io.SeekCurrent)
	ok(t, errors.Join(err, archive.Truncate(end), archive.Close()))
	return dir
}

// endless is a file system with a file that never ends.
type endless struct{ fstest.MapFS }

func (e endless) Open(name string) (fs.File, error) {
	f, err := e.MapFS.Open(name)
	if name == "file" {
		return endlessFile{f}, err
	}
	return f, err
}

func (e endless) ReadDir(string) ([]fs.DirEntry, error) {
	info, err := e.MapFS.Stat("file")
	return []fs.DirEntry{fs.FileInfoToDirEntry(endlessInfo{info})}, err
}

type endlessFile struct{ fs.File }

func (endlessFile) Read(p []byte) (int, error) { return len(p), nil }

type endlessInfo struct{ fs.FileInfo }

func (endlessInfo) Size() int64 { return hugeSize }

// stuck is a file system with a file that is never there to be read.
type stuck struct {
	endless
	forever chan struct{}
}

func (s stuck) Open(name string) (fs.File, error) {
	if name == "file" {
		<-s.forever
	}
	return s.endless.Open(name)
}

func TestCancelCopy(t *testing.T) {
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	dir := builder.Dir(huge(t))
	forever := make(chan struct{})
	defer close(forever)
	for name, call := range map[string]func(context.Context) error{
		"COPY": func(ctx context.Context) error { _, err := s.Copy(ctx, "/x/", dir.Select("file")); return err },
		"ADD":  func(ctx context.Context) error { _, err := s.Add(ctx, "/x/", dir.Select("archive")); return err },
		"COPY from FS": func(ctx context.Context) error {
			_, err := s.Copy(ctx, "/x/", builder.FS(endless{fstest.MapFS{"file": {Mode: 0o644}}}))
			return err
		},
		"COPY from a stuck FS": func(ctx context.Context) error {
			_, err := s.Copy(ctx, "/x/", builder.FS(stuck{endless{fstest.MapFS{"file": {Mode: 0o644}}}, forever}))
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		if err := call(ctx); err != context.DeadlineExceeded {
			t.Errorf("%s: got error %v", name, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %v to cancel", name, took)
		}
		cancel()
	}
	equal(t, sh(t, s, "ls /x 2>&1; true"), "ls: /x: No such file or directory\n")
	ok(t, b.Close())
	nothingLeft(t, root, nap())
}
