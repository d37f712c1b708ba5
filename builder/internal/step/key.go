//go:build linux

// Package step does the steps of stages: it gives each a key, looks its result up in the
// layer cache, does it where there is none, and records what it gave.
package step

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// version changes when the same operation gives another result than before, or its key is made
// in another way.
const version = "oakum step 4"

// Key is all that an operation's result depends on but the layers below and the content that
// it reads. It must mean the same on every machine: no path, no id of a store, no time of now;
// and nothing secret. Each operation has a struct of its own, whose fields are named by a tag.
type Key interface {
	// operation names the operation, for good: types may be renamed, keys may not.
	operation() string
}

// The keys of all operations. What of an operation's parameters is not in its key, and why,
// is listed by the worker's TestKeys.
type (
	// RunKey is that of a command.
	RunKey struct {
		Args     []string          `key:"args"`
		Env      []string          `key:"env"` // but for what is not to count
		Files    map[string]string `key:"files"`
		Hostname string            `key:"hostname"`
		Dir      string            `key:"dir"`
		User     string            `key:"user"`
		Terminal *TerminalKey      `key:"terminal"`
		Mounts   []MountKey        `key:"mounts"`
		Rights   RightsKey         `key:"rights"`
	}
	// MountKey is that of what a command sees over a path. What is there is in the step's content, for a
	// bind, or is not to count.
	MountKey struct {
		Kind     string `key:"kind"`
		Target   string `key:"target"`
		ReadOnly bool   `key:"readonly"`
		ID       string `key:"id"`
		Path     string `key:"path"`
		Env      string `key:"env"`
		Mode     int    `key:"mode"`
		UID      int    `key:"uid"`
		GID      int    `key:"gid"`
		Size     int    `key:"size"`
	}
	// RightsKey is how a command is kept apart from the machine, as far as it sees it.
	RightsKey struct {
		Network         string   `key:"network"`
		Hosts           []string `key:"hosts"`
		NoHosts         bool     `key:"nohosts"`
		Insecure        bool     `key:"insecure"`
		Add             []string `key:"add"`
		Drop            []string `key:"drop"`
		Seccomp         string   `key:"seccomp"`
		NoNewPrivileges bool     `key:"nonewprivileges"`
		Mask            []string `key:"mask"`
		Unmask          []string `key:"unmask"`
		AppArmor        string   `key:"apparmor"`
		Label           []string `key:"label"`
		Devices         []string `key:"devices"`
		Groups          []string `key:"groups"`
	}
	// TerminalKey is the size of a command's terminal, which it can ask for.
	TerminalKey struct {
		Rows    int `key:"rows"`
		Columns int `key:"columns"`
	}
	// CopyKey is that of a copy; the content is that of the files it copies. It does not say
	// where they come from, for the same files from elsewhere are the same step.
	CopyKey struct {
		Dest    string      `key:"dest"`
		Dir     bool        `key:"dir"`
		Unpack  bool        `key:"unpack"`
		Link    bool        `key:"link"`
		Sources []SourceKey `key:"sources"`
	}
	// SourceKey is that of one source of a copy.
	SourceKey struct {
		Patterns  []string `key:"patterns"`
		Exclude   []string `key:"exclude"`
		Chown     string   `key:"chown"`
		Chmod     string   `key:"chmod"`
		KeepOwner bool     `key:"keepowner"`
		Packed    bool     `key:"packed"`
		Timed     bool     `key:"timed"`
		Parents   bool     `key:"parents"`
		KeepDirs  bool     `key:"keepdirs"`
	}
	// WorkdirKey is that of a directory that is made unless it is there.
	WorkdirKey struct {
		Dir   string `key:"dir"`
		User  string `key:"user"`
		Times *Times `key:"times"` // of what is made
	}
	// URLKey is that of a download; the content is the digest of what came.
	URLKey struct {
		URL string `key:"url"` // without a password
	}
	// GitKey is that of a checkout; the content stands for the commit.
	GitKey struct {
		Remote         string `key:"remote"` // without a password
		Subdir         string `key:"subdir"`
		Keep           bool   `key:"keep"`
		SkipSubmodules bool   `key:"skipsubmodules"`
		CommitTimes    bool   `key:"committimes"`
	}
	// ReadKey is that of what a copy or a mount reads of layers. It names what was read, not a step.
	ReadKey struct {
		Patterns  []string `key:"patterns"`
		Parents   bool     `key:"parents"`
		Ignore    []string `key:"ignore"`
		Exclude   []string `key:"exclude"`
		KeepOwner bool     `key:"keepowner"`
		Timed     bool     `key:"timed"`
		Top       bool     `key:"top"` // and the directory itself
	}
	// SquashKey is that of a layer that does what others do one after the other; the content is the
	// chain ID of the uppermost.
	SquashKey struct{}
	// CommandKey is that of a command that a layer can run as it is. It names a finding, not a
	// step.
	CommandKey struct {
		Args    []string `key:"args"`
		Env     []string `key:"env"`
		Dir     string   `key:"dir"`
		Volumes []string `key:"volumes"`
		Arch    string   `key:"arch"`
	}
)

func (RunKey) operation() string     { return "run" }
func (CopyKey) operation() string    { return "copy" }
func (WorkdirKey) operation() string { return "workdir" }
func (URLKey) operation() string     { return "url" }
func (GitKey) operation() string     { return "git" }
func (ReadKey) operation() string    { return "read" }
func (SquashKey) operation() string  { return "squash" }
func (CommandKey) operation() string { return "command" }

// Times are those of the files of new layers: Limit, in seconds since 1970, for those that are
// later, or with All for everything.
type Times struct {
	Limit int64 `key:"limit"`
	All   bool  `key:"all"`
}

// Change is what makes a layer so.
func (t Times) Change() workspace.Times {
	return workspace.Times{Limit: time.Unix(t.Limit, 0), All: t.All}
}

// Sum is the key of an operation on layers of a chain ID, 64 hexadecimal digits: the SHA-256
// of the bencoding (BEP 3) of a dictionary with
//
//	below       the chain ID, "" for the empty root
//	key         the fields of the operation's struct by the names of their tags
//	operation   its name
//	times       the Times of the stage's files, if it has any
//	version     of all this
//
// Structs and maps are dictionaries, booleans the integers 0 and 1, pointers what they point to.
// A field with its zero value, or with nothing in it, is left out, so that one can be added and the keys of
// what does not use it stay. Bencoding has one form for each value, and takes strings of any
// bytes.
func Sum(below digest.Digest, k Key) string { return sum(below, encodeKey(k, nil)) }

// encodeKey encodes the part of a key that does not depend on the layers below: the rest of the
// dictionary after "below".
func encodeKey(k Key, times *Times) []byte {
	var b bytes.Buffer
	encode(&b, reflect.ValueOf("key"))
	encode(&b, reflect.ValueOf(k))
	encode(&b, reflect.ValueOf("operation"))
	encode(&b, reflect.ValueOf(k.operation()))
	if times != nil {
		encode(&b, reflect.ValueOf("times"))
		encode(&b, reflect.ValueOf(*times))
	}
	encode(&b, reflect.ValueOf("version"))
	encode(&b, reflect.ValueOf(version))
	b.WriteByte('e')
	return b.Bytes()
}

func sum(below digest.Digest, rest []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "d5:below%d:%s", len(below), below)
	h.Write(rest)
	return hex.EncodeToString(h.Sum(nil))
}

// encode writes a value of the kinds that keys have.
func encode(b *bytes.Buffer, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		b.WriteString(strconv.Itoa(v.Len()))
		b.WriteByte(':')
		b.WriteString(v.String())
	case reflect.Bool:
		n := "i0e"
		if v.Bool() {
			n = "i1e"
		}
		b.WriteString(n)
	case reflect.Int, reflect.Int64:
		fmt.Fprintf(b, "i%de", v.Int())
	case reflect.Slice:
		b.WriteByte('l')
		for i := range v.Len() {
			encode(b, v.Index(i))
		}
		b.WriteByte('e')
	case reflect.Map:
		entries := make([]entry, 0, v.Len())
		for name, value := range v.Seq2() {
			entries = append(entries, entry{name.String(), value})
		}
		encodeEntries(b, entries)
	case reflect.Struct:
		entries := make([]entry, 0, v.NumField())
		for i := range v.NumField() {
			if f := v.Field(i); !empty(f) {
				entries = append(entries, entry{v.Type().Field(i).Tag.Get("key"), f})
			}
		}
		encodeEntries(b, entries)
	case reflect.Pointer:
		encode(b, v.Elem())
	default:
		// The kinds are those of the structs above, and a test encodes each of them.
		panic("a key cannot hold a " + v.Kind().String())
	}
}

// empty says whether a field is left out: an empty list is like none.
func empty(v reflect.Value) bool {
	return v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
}

type entry struct {
	name  string
	value reflect.Value
}

func encodeEntries(b *bytes.Buffer, entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	b.WriteByte('d')
	for _, e := range entries {
		encode(b, reflect.ValueOf(e.name))
		encode(b, e.value)
	}
	b.WriteByte('e')
}
