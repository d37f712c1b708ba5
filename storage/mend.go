//go:build linux

package storage

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/records"
)

// containers/storage writes its lists of layers and of images so that a power cut leaves the old or the new one, but
// not the files of the layers that they name: for as long as the kernel has not written those, a power cut leaves files that are
// empty, in layers and images that are listed. So whoever opens a store first after the machine was started reads the layers
// that were made last before that, and removes those that are not whole, before anything is built on them. See
// docs/decisions/0027-syncs.md.

// bootFile says since which start of the machine the store has been looked through: it has the kernel's id of that.
const bootFile = "boot"

// unwritten is how long a layer may have been there without being on the disk, many times what Linux does
// by itself (vm.dirty_expire_centisecs is 30 s).
const unwritten = 10 * time.Minute

// bootID is the kernel's id of this start of the machine, "" where it cannot be read.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// lookedThrough says whether a store has been looked through since the machine was started. Whoever
// finds that it was not opens it in full.
func lookedThrough(private string) bool {
	of, err := os.ReadFile(filepath.Join(private, bootFile))
	id := bootID()
	return id == "" || err == nil && string(of) == id
}

// mendLinks mends the short names of the overlay driver's layers, below a store's root. A power cut may leave the file empty in
// which a layer has its own. Of a layer that was being made then, which it removes when it reads the store,
// containers/storage takes that for the name of the directory of all names, and removes that: so an empty file
// goes before, and names that are missing are given again.
func mendLinks(root string) {
	home := filepath.Join(root, DriverOverlay)
	links, _ := filepath.Glob(filepath.Join(home, "*", "link"))
	for _, link := range links {
		info, err := os.Lstat(link)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		name, err := os.ReadFile(link)
		switch at := filepath.Join(home, "l", filepath.Base(string(name))); {
		case err != nil:
		case len(name) == 0:
			_ = os.Remove(link)
		default:
			_ = os.MkdirAll(filepath.Dir(at), 0o755)
			_ = os.Symlink(filepath.Join("..", filepath.Base(filepath.Dir(link)), "diff"), at) // nothing happens where it is there
		}
	}
}

// durability is what there is to do with what is not on the disk, and what a power cut has left.
type durability struct {
	syncs   bool            // see syncFiles
	broken  map[string]bool // layers that are not whole, and those on them, that containers of other programs have
	removed []string        // what images that were removed were called
}

// Lost is a sentence on images that a power cut has left in parts and that were removed when the store was opened, or "".
func (s *Store) Lost() string {
	if len(s.disk.removed) == 0 {
		return ""
	}
	return "the machine went off before all files of some images were on the disk, which are removed: " + strings.Join(s.disk.removed, ", ") + "; build or pull them again"
}

// mend looks the store through, if nobody has since the machine was started.
func (s *Store) mend() error {
	if lookedThrough(s.private.Name()) {
		return nil
	}
	f, err := s.private.OpenFile(bootFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = closeLock(f) }()
	if err := flock(f, unix.LOCK_EX); err != nil {
		return err
	}
	if lookedThrough(s.private.Name()) {
		return nil
	}
	all, err := s.cs.Layers()
	if err != nil {
		return err
	}
	known := map[string]*cs.Layer{}
	for i := range all {
		known[all[i].ID] = &all[i]
	}
	unsure := false
	bad := map[string]bool{}
	for _, l := range youngest(all) {
		whole, err := s.whole(l)
		unsure = unsure || err != nil
		bad[l.ID] = err == nil && !whole
	}
	if err := s.removeBroken(all, known, bad); err != nil {
		return err
	}
	s.releaseStray() // the list of layers was synced, and notes are not
	if unsure || len(s.disk.broken) > 0 {
		return nil // who opens the store next looks again
	}
	return errors.Join(f.Truncate(0), writeAt(f, []byte(bootID())))
}

// youngest are the layers that may not have been on the disk when the newest one was made, or later.
func youngest(all []cs.Layer) []*cs.Layer {
	var newest time.Time
	for i := range all {
		if all[i].Created.After(newest) {
			newest = all[i].Created
		}
	}
	var young []*cs.Layer
	for i := range all {
		if newest.Sub(all[i].Created) < unwritten {
			young = append(young, &all[i])
		}
	}
	return young
}

// whole says whether a layer's files are those of its digest. An error is one of reading them that says nothing of that.
func (s *Store) whole(record *cs.Layer) (bool, error) {
	if !records.Usable(record.UncompressedDigest) || !s.plainOwners(record) || record.Flags["incomplete"] == true {
		return true, nil // there is nothing to compare with, or containers/storage removes it itself
	}
	l, err := s.Layer(record.ID)
	if err != nil {
		return false, unlessOfFiles(err)
	}
	if linked, err := s.linked(l); !linked || err != nil {
		return linked, err
	}
	tar, err := s.OpenTar(l)
	if err != nil {
		return false, unlessOfFiles(err)
	}
	defer tar.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, tar); err != nil {
		return false, unlessOfContent(err)
	}
	return digest.NewDigest(digest.SHA256, sum) == record.UncompressedDigest, nil
}

// unlessOfFiles is nil for an error of which a layer's files are the cause: one is not there, or is of another kind. All other
// errors may be those of the machine, the user, the network or whoever serves the file system (of which there are more than can be
// listed), and what cannot be read for a while must not be removed.
func unlessOfFiles(err error) error {
	for _, of := range []error{cs.ErrLayerUnknown, ErrRemoved, fs.ErrNotExist, unix.ENOTDIR, unix.EISDIR, unix.ELOOP} {
		if errors.Is(err, of) {
			return nil
		}
	}
	return err
}

// unlessOfContent is unlessOfFiles of an error of reading a layer's tar to its end, which is also that of a file that is too short, cannot
// be decompressed or decoded, or has another checksum. These are those that the kernel has given no number.
func unlessOfContent(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	return unlessOfFiles(err)
}

// linked says whether the overlay driver knows which layers are below one: it keeps that in files of its own.
func (s *Store) linked(l *Layer) (bool, error) {
	if s.Driver() != DriverOverlay {
		return true, nil
	}
	driver, err := s.cs.GraphDriver()
	if err != nil {
		return false, err
	}
	meta, err := driver.Metadata(l.ID())
	if errors.Is(err, unix.EINVAL) {
		return false, nil // an empty name led it to what is no link
	}
	if err != nil {
		return false, unlessOfFiles(err)
	}
	below := 0
	for p := l.Parent(); p != nil; p = p.Parent() {
		below++
	}
	count := func(list string) int { return len(strings.FieldsFunc(list, func(r rune) bool { return r == ':' })) }
	if count(meta["LowerDir"]) != below {
		return false, nil
	}
	// The short names by which other releases of containers/storage find layers: that of this one, and of those below.
	for file, want := range map[string]int{"link": 1, "lower": below} {
		names, err := os.ReadFile(filepath.Join(filepath.Dir(meta["UpperDir"]), file))
		if want > 0 && count(string(names)) != want {
			return false, unlessOfFiles(err)
		}
	}
	return true, nil
}

// removeBroken removes layers and what is on them, with the images of them. What is below them stays. What containers have is
// not removed, and from then on not seen.
func (s *Store) removeBroken(all []cs.Layer, known map[string]*cs.Layer, bad map[string]bool) error {
	depth := map[string]int{}
	var doomed []*cs.Layer
	for i := range all {
		on := false
		for l := &all[i]; l != nil; l = known[l.Parent] {
			depth[all[i].ID]++
			on = on || bad[l.ID]
		}
		if on {
			doomed = append(doomed, &all[i])
		}
	}
	s.disk.broken = map[string]bool{}
	for _, l := range doomed {
		s.disk.broken[l.ID] = true
	}
	done, err := s.keepBelow(doomed)
	if err == nil {
		err = s.removeImagesOf(s.disk.broken)
	}
	slices.SortFunc(doomed, func(a, b *cs.Layer) int { return cmp.Compare(depth[b.ID], depth[a.ID]) })
	for _, l := range doomed {
		if gone := s.deleteLayer(l.ID); gone == nil || errors.Is(gone, cs.ErrLayerUnknown) || errors.Is(gone, cs.ErrNotALayer) {
			delete(s.disk.broken, l.ID)
		}
	}
	s.mu.Lock()
	s.index = index{}
	s.mu.Unlock()
	return errors.Join(err, done())
}

// keepBelow puts a hold on each layer below those that go, so that it does not go with their images.
func (s *Store) keepBelow(doomed []*cs.Layer) (done func() error, err error) {
	var marks, on, made []string
	for _, l := range doomed {
		if l.Parent != "" && !s.disk.broken[l.Parent] {
			marks, on = append(marks, stringid.GenerateRandomID()), append(on, l.Parent)
		}
	}
	if len(marks) > 0 {
		err = s.noteMarks(marks) // first, as in keep
	}
	for i, id := range marks {
		if err != nil {
			break
		}
		if err = s.putHold(id, on[i]); err == nil {
			made = append(made, id)
		}
	}
	return func() (err error) {
		var left []string
		for _, id := range made {
			if failed := s.deleteLayer(id); failed != nil {
				err, left = errors.Join(err, failed), append(left, id)
			}
		}
		if len(marks) > 0 {
			_ = s.noteMarks(left) // if this fails, the old note stays, and names some that are gone
		}
		return err
	}, err
}

// hasManifest says whether an image has been written to its end: containers/storage puts it into the list before its manifest
// is there, and Podman then fails to list any.
func (s *Store) hasManifest(image string) bool {
	img, err := s.cs.Image(image)
	return err != nil || slices.Contains(img.BigDataNames, cs.ImageDigestBigDataKey)
}

// removeImagesOf removes the images of layers, and those without a manifest.
func (s *Store) removeImagesOf(broken map[string]bool) error {
	images, err := s.cs.Images()
	if err != nil {
		return err
	}
	waited := false
	for _, img := range images {
		on := broken[img.TopLayer] || slices.ContainsFunc(img.MappedTopLayers, func(id string) bool { return broken[id] })
		if !on && s.hasManifest(img.ID) {
			continue
		}
		if !on && !waited { // somebody may just be making it
			time.Sleep(10 * settled)
			waited = true
		}
		if !on && s.hasManifest(img.ID) {
			continue
		}
		_, err := s.cs.DeleteImage(img.ID, true)
		if err = removeDeleted(err); errors.Is(err, cs.ErrImageUsedByContainer) {
			continue
		}
		if err != nil && !errors.Is(err, cs.ErrImageUnknown) {
			return fmt.Errorf("removing the image %.12s, which a power cut has left in parts: %w", img.ID, err)
		}
		s.disk.removed = append(s.disk.removed, cmp.Or(strings.Join(img.Names, ", "), fmt.Sprintf("%.12s", img.ID)))
	}
	return nil
}
