// Package runflags reads what the flags of RUN say: what the command sees over paths of its stage
// (--mount), and what it asks for of the machine (--network, --security, --device).
//
// --mount is read here and not by BuildKit's packages, which refuse a variable in from= and do
// not know what Buildah adds. The meaning is theirs (Dockerfile reference, RUN --mount;
// buildah-build(1)).
package runflags

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/mount"
)

// Type is the type of a RUN --mount.
type Type string

// The types.
const (
	Bind   Type = "bind"
	Cache  Type = "cache"
	Tmpfs  Type = "tmpfs"
	Secret Type = "secret"
	SSH    Type = "ssh"
)

var types = []string{string(Bind), string(Cache), string(Tmpfs), string(Secret), string(SSH)}

// Mount is a RUN --mount with the values of its variables.
type Mount struct {
	Type Type
	// Target is cleaned, and relative to the working directory if it was. "" is of a secret that is
	// a variable alone, and of an agent's socket at the place that builder gives it.
	Target string
	// Source is the path in the root of what From names. Without a From it is of the build context
	// for a bind, and for a cache, which is empty at first, of the cache itself.
	Source   string
	HasFrom  bool
	ReadOnly bool
	// ID is the name of a cache, secret or agent.
	ID       string
	Sharing  mount.Sharing
	Size     int64
	Required bool
	// Env is the variable that a secret is to be; "" is none.
	Env      string
	Mode     fs.FileMode
	UID, GID int
	// Partial says that a value is not known without the variables of the base image, and left out.
	Partial bool
}

// mountError is what is wrong with a RUN --mount.
type mountError struct {
	text string // of the flag
	err  error
	hint string
}

func (e *mountError) Error() string { return fmt.Sprintf("RUN --mount=%s: %v", e.text, e.err) }

func (e *mountError) Unwrap() error { return e.err }

// Hint is what to do about it, or "".
func (e *mountError) Hint() string {
	var advising interface{ Hint() string }
	if e.hint == "" && errors.As(e.err, &advising) {
		return advising.Hint()
	}
	return e.hint
}

// mountField is one KEY=VALUE of a mount; a key alone is true.
type mountField struct{ written, key, value string }

// mountFields splits a mount, and checks what needs no variables.
func mountFields(text string) ([]mountField, error) {
	words, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, &mountError{text: text, err: errors.New("it is not a list of KEY=VALUE with commas between"), hint: `a value with a comma is quoted with its key: '"target=/a,b"'`}
	}
	var fields []mountField
	for _, word := range words {
		written, value, given := strings.Cut(word, "=")
		f := mountField{written, strings.ToLower(written), value}
		f.key = cmp.Or(mountSynonyms[f.key], f.key)
		key, known := mountKeys[f.key]
		switch {
		case !known:
			names := mountKeyNames()
			return nil, &mountError{text, fmt.Errorf("the key %q is not known", written), cmp.Or(didYouMean(f.key, names), "the keys are "+strings.Join(names, ", "))}
		case !given && !key.alone:
			return nil, &mountError{text: text, err: fmt.Errorf("%s needs a value: %s=VALUE", written, written)}
		case !given:
			f.value = "true"
		}
		if slices.ContainsFunc(fields, func(other mountField) bool { return other.key == f.key }) {
			return nil, &mountError{text: text, err: fmt.Errorf("%s is given twice", f.key)}
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// From is the word of a mount's from=, or "".
func From(text string) (string, error) {
	fields, err := mountFields(text)
	return fromOf(fields), err
}

func fromOf(fields []mountField) string {
	for _, f := range fields {
		if f.key == "from" {
			return f.value
		}
	}
	return ""
}

// Expander replaces the variables of a value, and says whether all of them are known.
type Expander func(word string) (value string, known bool, err error)

// Parse makes a mount of a text, but for from=: who calls it has resolved that. A cache's id gets
// the namespace. The error says what to do, by a method Hint.
func Parse(text, namespace string, expand Expander) (Mount, error) {
	m := Mount{Type: Bind}
	fields, err := mountFields(text)
	if err != nil {
		return m, err
	}
	m.HasFrom = fromOf(fields) != ""
	var known []mountField
	typed := true
	for _, f := range fields {
		ok := true
		if f.key != "from" { // which the plan has resolved
			if f.value, ok, err = expand(f.value); err != nil {
				return m, &mountError{text: text, err: fmt.Errorf("%s: %w", f.written, err)}
			}
		}
		switch {
		case !ok:
			m.Partial, typed = true, typed && f.key != "type"
		case f.key == "type":
			m.Type = Type(strings.ToLower(f.value))
		default:
			known = append(known, f)
		}
	}
	if !typed {
		return m, nil // nothing can be told
	}
	if !slices.Contains(types, string(m.Type)) {
		return m, &mountError{text, fmt.Errorf("the type %q is not known: it is %s", m.Type, strings.Join(types, ", ")), didYouMean(string(m.Type), types)}
	}
	m.ReadOnly = m.Type == Bind
	for _, f := range known {
		if err := m.set(f); err != nil {
			return m, &mountError{text: text, err: err}
		}
	}
	if err := m.finish(namespace); err != nil {
		return m, &mountError{text: text, err: err}
	}
	return m, nil
}

// finish checks what keys mean together, and gives those that are not there their defaults.
func (m *Mount) finish(namespace string) error {
	if m.Partial {
		return nil
	}
	switch m.Type {
	case Secret:
		return m.finishSecret()
	case SSH:
		m.ID = cmp.Or(m.ID, "default")
		return nil
	case Cache:
		if m.ID = cmp.Or(m.ID, m.Target, "."); namespace != "" {
			m.ID = namespace + "/" + m.ID
		}
	}
	m.Target = cmp.Or(m.Target, ".") // the working directory, as in BuildKit
	return nil
}

// secretsDir is where secrets are without a target.
const secretsDir = "/run/secrets"

func (m *Mount) finishSecret() error {
	switch {
	case m.Source != "" && m.ID != "":
		return errors.New("source and id both name the secret")
	case m.Source == "" && m.ID == "" && m.Target == "":
		return errors.New("it names no secret: give id=ID")
	}
	if m.ID = cmp.Or(m.ID, m.Source); m.ID == "" {
		m.ID = path.Base(m.Target)
	}
	m.Source = ""
	if m.Target != "" || m.Env != "" {
		return nil
	}
	name := path.Base(m.ID)
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("the id %q is not a file's name: give target=PATH", m.ID)
	}
	m.Target = path.Join(secretsDir, name)
	return nil
}

// Check checks the mounts of one RUN beside each other, as far as they are known.
func Check(mounts []Mount) error {
	on := map[string]bool{}
	for _, m := range mounts {
		if m.Target == "" || m.Partial {
			continue
		}
		if err := mount.CheckTarget(m.Target); err != nil {
			return fmt.Errorf("RUN --mount: %w", err)
		}
		if on[m.Target] {
			return fmt.Errorf("RUN --mount: two mounts have the target %s; give one of them another", m.Target)
		}
		on[m.Target] = true
	}
	return nil
}
