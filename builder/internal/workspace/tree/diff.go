//go:build linux

package tree

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// change is an entry of the layer that makes the files of one list those of another.
type change struct {
	kind kind
	at   string
	node *node // of a removal, the directory that it was in
}

type kind int

const (
	file    kind = iota
	removal      // of what is below
	opaque       // the directory hides what is below
)

// difference gives the changes between two lists, in the order of a layer's entries. Hard links to a
// file are all in it, or none: for whoever unpacks the layer, the others would be links to the file
// that was there before. same tells of a file of a directory that has changed whether it is still what it was.
func difference(from, to *node, same func(in string, before, after *node) bool) []change {
	d := &differ{same: same, linked: map[uint64]bool{}}
	for {
		d.changes, d.said, d.silent = nil, map[uint64]bool{}, nil
		d.directory("", from, to)
		again := false
		for _, ino := range d.silent {
			if d.said[ino] && !d.linked[ino] {
				d.linked[ino], again = true, true
			}
		}
		if !again {
			return d.changes
		}
	}
}

type differ struct {
	same    func(in string, before, after *node) bool
	linked  map[uint64]bool // files that are in the layer because of one of their other names
	changes []change
	said    map[uint64]bool // the files with several names of which the layer says something
	silent  []uint64        // and those of which a name has not changed
}

// directory compares what is in a directory that was there before.
func (d *differ) directory(at string, from, to *node) {
	old, now := from.files, to.files
	for len(old) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			order = strings.Compare(old[0].name, now[0].name)
		}
		switch {
		case order == 0:
			d.both(at, &old[0], &now[0])
		case order > 0:
			d.new(path.Join(at, now[0].name), &now[0], false)
		case old[0].kind() != unix.S_IFSOCK: // of which no layer has said anything
			d.changes = append(d.changes, change{removal, path.Join(at, old[0].name), to})
		}
		if order <= 0 {
			old = old[1:]
		}
		if order >= 0 {
			now = now[1:]
		}
	}
}

// both compares what was and is at one place in a directory.
func (d *differ) both(in string, before, after *node) {
	dirs := before.isDir() && after.isDir() && before.ino == after.ino && before.born == after.born
	if !dirs && !d.linked[after.ino] && (before.state == after.state || d.same(in, before, after)) {
		if after.links > 1 {
			d.silent = append(d.silent, after.ino)
		}
		return
	}
	at := path.Join(in, after.name)
	if !dirs {
		d.new(at, after, before.kind() != unix.S_IFSOCK)
		return
	}
	// A directory is an entry with what has changed in it.
	d.changes = append(d.changes, change{file, at, after})
	count := len(d.changes)
	d.directory(at, before, after)
	if before.state == after.state && len(d.changes) == count {
		d.changes = d.changes[:count-1]
	}
}

// new says of a file, with all that is in a directory, that it is there. over says that something else was
// there.
func (d *differ) new(at string, n *node, over bool) {
	if n.kind() == unix.S_IFSOCK {
		if over { // a tar cannot hold it, but it is not what it was
			d.changes = append(d.changes, change{removal, at, n})
		}
		return
	}
	d.changes = append(d.changes, change{file, at, n})
	if !n.isDir() {
		if n.links > 1 {
			d.said[n.ino] = true
		}
		return
	}
	if over {
		d.changes = append(d.changes, change{opaque, at, n})
	}
	for i := range n.files {
		d.new(path.Join(at, n.files[i].name), &n.files[i], false)
	}
}
