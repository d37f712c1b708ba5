//go:build linux

package storage

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/treedriver"
)

// chainOfThree makes three layers, with an image of the first and one of the last.
func chainOfThree(t *testing.T, s *Store) (layers [3]*Layer) {
	t.Helper()
	var below *Layer
	for i := range layers {
		below = layer(t, s, below, "file", strings.Repeat("x", 1000+i))
		layers[i] = below
	}
	commit(t, s, layers[0], "localhost/below")
	commit(t, s, layers[2], "localhost/above")
	return layers
}

// powerCut empties what a power cut may leave empty of a layer.
func powerCut(t *testing.T, s *Store, l *Layer, what string) {
	t.Helper()
	dir, err := s.diffDir(l.id)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{
		"a file":     filepath.Join(dir, "file"),
		"the tar":    filepath.Join(dir, treedriver.Blob),
		"its record": filepath.Join(s.cs.GraphRoot(), s.Driver()+"-layers", l.id+".tar-split.gz"),
		"its name":   filepath.Join(filepath.Dir(dir), "link"),
		"its place":  filepath.Join(filepath.Dir(dir), "lower"),
	}[what]
	if err := os.Truncate(at, 0); err != nil {
		t.Fatal(err)
	}
}

// After a power cut, layers that are not whole go with the images on them, and nothing else does.
func TestMend(t *testing.T) {
	t.Parallel()
	damages := []string{"", "a file", "its record", "its name", "its place"}
	if driver() == DriverTree {
		damages = []string{"", "the tar"}
	}
	for _, damage := range damages {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s := openIn(t, root)
			layers := chainOfThree(t, s)
			if damage != "" {
				powerCut(t, s, layers[1], damage)
			}
			again := reopen(t, s, root)
			if again.Lost() != "" || len(names(t, again)) != 2 {
				t.Errorf("without the machine having been started again: %s", again.Lost())
			}
			must(t, os.WriteFile(filepath.Join(root, privateDir(driver()), bootFile), []byte("another"), 0o600))
			must(t, os.RemoveAll(filepath.Join(root, DriverOverlay, "l")))
			s = reopen(t, again, root)
			defer s.Close()
			want, lost, there := []string{"localhost/below:latest"}, true, 1
			if damage == "" {
				want, lost, there = []string{"localhost/above:latest", "localhost/below:latest"}, false, 3
			}
			if got := names(t, s); !slices.Equal(got, want) || strings.Contains(s.Lost(), "localhost/above") != lost {
				t.Errorf("there are %v: %s", got, s.Lost())
			}
			if all, err := s.cs.Layers(); err != nil || len(all) != there {
				t.Errorf("%d layers are left (%v)", len(all), err)
			}
			if links, err := filepath.Glob(filepath.Join(root, DriverOverlay, "l", "*", ".")); driver() == DriverOverlay && (len(links) != there || err != nil) {
				t.Errorf("%d of %d layers have a short name (%v)", len(links), there, err)
			}
			if !lookedThrough(s.private.Name()) {
				t.Error("who opens the store next looks again")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, s *Store, root string) *Store {
	t.Helper()
	must(t, s.Close())
	return openIn(t, root)
}

func names(t *testing.T, s *Store) (names []string) {
	t.Helper()
	images, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		names = append(names, img.Names...)
	}
	slices.Sort(names)
	return names
}

// An image that was put into the list before its manifest is removed; what a container of another program has stays, but is not
// built on.
func TestMendOthers(t *testing.T) {
	t.Parallel()
	ofOverlay(t)
	root := t.TempDir()
	s := openIn(t, root)
	defer func() { must(t, s.Close()) }()
	layers := chainOfThree(t, s)
	above, err := s.Find("localhost/above")
	must(t, err)
	_, err = s.cs.CreateContainer("", []string{"other"}, above.ID, "", "", &cs.ContainerOptions{})
	must(t, err)
	_, err = s.cs.CreateImage("", []string{"localhost/halfway:latest"}, layers[0].id, "", &cs.ImageOptions{})
	must(t, err)
	powerCut(t, s, layers[2], "its record")
	must(t, os.Remove(filepath.Join(root, "oakum", bootFile)))
	for range 2 { // what is there is found each time
		s = reopen(t, s, root)
		if got, want := names(t, s), []string{"localhost/below:latest"}; !slices.Equal(got, want) {
			t.Errorf("there are %v", got)
		}
		if _, err := s.Layer(layers[2].id); !errors.Is(err, cs.ErrLayerUnknown) {
			t.Errorf("the layer of the container: %v", err)
		}
		if _, err := s.cs.Container("other"); err != nil {
			t.Error(err)
		}
		if lookedThrough(s.private.Name()) {
			t.Error("who opens the store next does not look again")
		}
	}
}

// What cannot be read for a reason that is not in the layer's files stays, with its image, and is looked at again.
func TestMendUnsure(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := openIn(t, root)
	defer func() { must(t, s.Close()) }()
	layers := chainOfThree(t, s)
	dir, err := s.diffDir(layers[1].id)
	must(t, err)
	at := filepath.Join(dir, "file")
	if driver() == DriverTree {
		at = filepath.Join(dir, treedriver.Blob)
	}
	must(t, os.Remove(at))
	must(t, unix.Mknod(at, unix.S_IFSOCK|0o600, 0)) // which cannot be opened: ENXIO
	must(t, os.Remove(filepath.Join(root, privateDir(driver()), bootFile)))
	s = reopen(t, s, root)
	if got, want := names(t, s), []string{"localhost/above:latest", "localhost/below:latest"}; !slices.Equal(got, want) || s.Lost() != "" {
		t.Errorf("there are %v: %s", got, s.Lost())
	}
	if lookedThrough(s.private.Name()) {
		t.Error("who opens the store next does not look again")
	}
}

// unread is a catalog that cannot be read.
type unread struct {
	catalog
	err error
}

func (u unread) Layers() ([]cs.Layer, error) { return nil, u.err }

// Only what says something of the files says that a layer is not whole.
func TestWhatIsBroken(t *testing.T) {
	t.Parallel()
	s := open(t)
	layer(t, s, nil, "file", "")
	all, err := s.cs.Layers()
	must(t, err)
	for _, errno := range []error{unix.ETIMEDOUT, unix.ESTALE, unix.EIO, unix.EMFILE, unix.ENOTCONN} {
		s.index = index{}
		of := s.catalog
		s.catalog = unread{of, &os.PathError{Op: "open", Path: "layers.json", Err: errno}}
		if whole, err := s.whole(&all[0]); whole || !errors.Is(err, errno) {
			t.Errorf("where the list gives %v: %v, %v", errno, whole, err)
		}
		s.catalog = of
		if read := fmt.Errorf("reading: %w", os.NewSyscallError("read", errno)); unlessOfContent(read) == nil || unlessOfFiles(read) == nil {
			t.Errorf("%v is said to be of the files", read)
		}
	}
	if whole, err := s.whole(&all[0]); !whole || err != nil {
		t.Errorf("the layer: %v, %v", whole, err)
	}
	for _, of := range []error{gzip.ErrHeader, gzip.ErrChecksum, io.ErrUnexpectedEOF, &json.SyntaxError{}, errors.New("another checksum"), unix.ENOENT, unix.ENOTDIR, ErrRemoved} {
		if err := unlessOfContent(fmt.Errorf("reading: %w", of)); err != nil {
			t.Errorf("%v is not said to be of the files", err)
		}
	}
	for _, of := range []error{cs.ErrLayerUnknown, unix.ENOENT, ErrRemoved} {
		if err := unlessOfFiles(fmt.Errorf("opening: %w", of)); err != nil {
			t.Errorf("%v is not said to be of the files", err)
		}
	}
}

// With overlay.sync=filesystem, whatever form it has.
func TestWantsSync(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		conf, given []string
		want        bool
	}{
		{want: false},
		{conf: []string{"overlay.sync=filesystem"}, want: true},
		{conf: []string{"overlay.sync=none"}},
		{conf: []string{"overlay.sync=filesystem"}, given: []string{"overlay.mountopt=nodev"}},
		{given: []string{"overlay.mountopt=nodev", "sync=filesystem"}, want: true},
	} {
		opts := Options{DriverOptions: c.given}
		if got := wantsSync(c.conf, opts); got != c.want {
			t.Errorf("%v, %v: %v", c.conf, c.given, got)
		}
		if kept, err := driverOptions(slices.Concat(c.conf, c.given)); err != nil || slices.ContainsFunc(kept, func(o string) bool { return strings.Contains(o, "sync") }) {
			t.Errorf("left for the library: %v (%v)", kept, err)
		}
	}
}
