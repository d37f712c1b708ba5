//go:build linux

package runnable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

func isMissing(err error) bool { return errors.Is(err, unix.ENOENT) }

// The bounds of the linkers' own files.
const (
	maxConf  = 64 << 10
	maxConfs = 64
	maxCache = 4 << 20
)

// file reads a file of the root up to limit bytes; a missing one is empty.
func (k *checker) file(name string, limit int64) []byte {
	f, _, err := k.open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return data
}

// muslDirs is where musl looks: /etc/ld-musl-ARCH.path beside the linker, or its defaults.
func (l *loader) muslDirs(linker string) []string {
	conf := "/etc/" + strings.TrimSuffix(linker, ".so.1") + ".path"
	if data := l.file(conf, maxConf); len(data) > 0 {
		return strings.FieldsFunc(string(data), func(r rune) bool { return r == ':' || r == '\n' })
	}
	return []string{"/lib", "/usr/local/lib", "/usr/lib"}
}

// glibcDirs is where glibc looks: the directories in its cache, those of which the cache
// is made, its defaults, and Debian's.
func (l *loader) glibcDirs(own, triplet string) []string {
	dirs := cacheDirs(l.file("/etc/ld.so.cache", maxCache))
	files := maxConfs
	dirs = append(dirs, l.confDirs("/etc/ld.so.conf", &files)...)
	for _, dir := range []string{own, "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib/" + triplet, "/usr/lib/" + triplet, "/lib32", "/usr/lib32"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// confDirs reads an ld.so.conf (ldconfig(8)): a directory a line, or "include PATTERN".
func (l *loader) confDirs(name string, files *int) []string {
	if *files--; *files < 0 {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(l.file(name, maxConf))) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "include":
			for _, pattern := range words[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(name), pattern)
				}
				for _, file := range l.glob(pattern) {
					dirs = append(dirs, l.confDirs(file, files)...)
				}
			}
		case len(words) > 0 && path.IsAbs(words[0]):
			dirs = append(dirs, path.Clean(words[0]))
		}
	}
	return dirs
}

// glob lists the files of a directory whose names match a pattern's last element.
func (l *loader) glob(pattern string) []string {
	dir, last := path.Split(pattern)
	fd, err := openat2.Open(int(l.root.Fd()), dir, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_DIRECTORY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	names := readNames(fd)
	var files []string
	for _, name := range names {
		if ok, err := path.Match(last, name); err == nil && ok {
			files = append(files, dir+name)
		}
	}
	return files
}

// The new format of ld.so.cache (glibc, sysdeps/generic/dl-cache.h): a header of 48
// bytes that begins with the magic text, then entries of 24 bytes with the offset of a
// path at byte 8.
const (
	cacheMagic  = "glibc-ld.so.cache1.1"
	cacheHeader = 48
	cacheEntry  = 24
)

// cacheDirs lists the directories of the libraries in an ld.so.cache.
func cacheDirs(cache []byte) []string {
	start := bytes.Index(cache, []byte(cacheMagic)) // after the old format, if that is there
	if start < 0 || len(cache)-start < cacheHeader {
		return nil
	}
	cache = cache[start:]
	count := int(binary.NativeEndian.Uint32(cache[20:]))
	if count > (len(cache)-cacheHeader)/cacheEntry {
		return nil
	}
	var dirs []string
	seen := map[string]bool{}
	for i := range count {
		at := int(binary.NativeEndian.Uint32(cache[cacheHeader+i*cacheEntry+8:]))
		if at < 0 || at >= len(cache) {
			continue
		}
		name := cache[at:min(len(cache), at+maxText)]
		end := bytes.IndexByte(name, 0)
		if end < 1 || name[0] != '/' {
			continue
		}
		if dir := path.Dir(string(name[:end])); !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// readNames lists a directory, at most some hundred names, and closes it.
func readNames(fd int) []string {
	dir := os.NewFile(uintptr(fd), "directory")
	defer dir.Close()
	names, err := dir.Readdirnames(4 * maxConfs)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	return names
}
