package input

import (
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Source names an input: exactly one of the fields from Dir to Git. It says what is taken of
// it, too, and how, and crosses the wire as it is.
type Source struct {
	Dir    string  `json:",omitempty"` // a directory of this machine, by its absolute path
	Stage  string  `json:",omitempty"` // the present files of a stage of the worker
	Image  *Image  `json:",omitempty"`
	Stream *Stream `json:",omitempty"`
	URL    *URL    `json:",omitempty"`
	Git    *Git    `json:",omitempty"`

	// Selection is what is taken. A URL is one file, which is all of it.
	filecopy.Selection
	// Rooted gives the files of a stage or an image to root, as those of other sources
	// always are.
	Rooted bool `json:",omitempty"`

	// Shown is for a mount: a directory of a layer counts itself, with its owner and mode, for it is
	// not copied.
	Shown bool `json:",omitempty"`

	// What follows is for copies alone. Chown is the owner that everything gets, looked up in
	// the root file system that is copied into, and Chmod the mode. Packed leaves an archive as
	// it is where others are unpacked.
	Chown  string `json:",omitempty"`
	Chmod  string `json:",omitempty"`
	Packed bool   `json:",omitempty"`
}

// Image is an image whose files are read.
type Image struct {
	// Ref is a name, or a reference with a transport. The path of an archive or layout is looked
	// up in Below, a Dir or a Stage, or nowhere if that is the zero value; nil is this machine.
	Ref   string
	Below *Source `json:",omitempty"`
	// Pull is when it is pulled; the zero value of Platform takes what the store has.
	Pull     string `json:",omitempty"`
	Platform platform.Platform
	Access   registry.Access
}

// Stream is a tar stream that comes with the call.
type Stream struct {
	File int // of the call's files, from 1
	// Foreign says that others wrote it: it is compressed or not, may be large, and may be
	// anything.
	Foreign bool `json:",omitempty"`
}

// URL is a file that is downloaded.
type URL struct {
	URL      string
	Checksum string `json:",omitempty"` // ALGORITHM:HEX, which its content must have
	// Authorization is the header for the server. It is kept nowhere.
	Authorization string `json:",omitempty"`
}

// Git is the files of a commit.
type Git struct {
	Ref         string // in the syntax of package gitrepo
	Checksum    string `json:",omitempty"` // with which the commit's id must begin
	KeepGitDir  *bool  `json:",omitempty"` // nil is what Ref says
	CommitTimes bool   `json:",omitempty"` // the files have the time of the commit
	// Authorization is the header for the server, and Agent the socket for ssh. They are kept
	// nowhere.
	Authorization string `json:",omitempty"`
	Agent         string `json:",omitempty"`
}

// errNone is a source that names nothing.
var errNone = fmt.Errorf("%w: it names no files", limits.ErrInvalid)

// IsNone says that an error is of a source that names nothing, as the zero value.
func IsNone(err error) bool { return errors.Is(err, errNone) }

// check fails with limits.ErrInvalid unless exactly one thing is named.
func (s *Source) check() error {
	named := 0
	for _, is := range []bool{s.Dir != "", s.Stage != "", s.Image != nil, s.Stream != nil, s.URL != nil, s.Git != nil} {
		if is {
			named++
		}
	}
	switch {
	case named == 0:
		return errNone
	case named > 1:
		return fmt.Errorf("%w: a source names several things", limits.ErrInvalid)
	}
	return nil
}

// KeepsOwners says that the files keep the owners that they have, which then are a part of
// what is read: those of layers were made for an image.
func (s *Source) KeepsOwners() bool {
	return (s.Stage != "" || s.Image != nil) && !s.Rooted && s.Chown == ""
}

// fixed is Input.Fixed.
func (s *Source) fixed() bool {
	return s.Dir == "" && !s.Rooted && len(s.Ignore) == 0 && len(s.Exclude) == 0
}

// top says that the directory that is selected counts itself.
func (s *Source) top() bool { return s.Shown && s.fixed() && s.Stream == nil }
