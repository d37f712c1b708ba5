//go:build linux

package step

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/storage/fingerprints"
)

// eachPart takes a key apart: each part has a name, and a value. The names are kept as they are, so
// they have nothing in them that may be private.
func eachPart(k Key, times *Times, add func(name string, value []byte)) {
	takeApart("", reflect.ValueOf(k), add)
	if times != nil {
		takeApart("times", reflect.ValueOf(*times), add)
	}
}

func takeApart(name string, v reflect.Value, add func(string, []byte)) {
	within := func(part string) string { return strings.TrimPrefix(name+" "+part, " ") }
	switch {
	case empty(v):
	case v.Kind() == reflect.Pointer:
		takeApart(name, v.Elem(), add)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			takeApart(within(v.Type().Field(i).Tag.Get("key")), v.Field(i), add)
		}
	case v.Kind() == reflect.Map:
		for key, value := range v.Seq2() {
			takeApart(within(key.String()), value, add)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			each := strconv.Itoa(i + 1)
			if m, is := v.Index(i).Interface().(MountKey); is {
				each = m.Target
			}
			takeApart(within(each), v.Index(i), add)
		}
	case name == "env":
		for _, kv := range v.Interface().([]string) {
			variable, value, _ := strings.Cut(kv, "=")
			add(within(variable), []byte("="+value)) // of two, the later one is what a command sees
		}
	default:
		var b bytes.Buffer
		encode(&b, v)
		add(name, b.Bytes())
	}
}

// identities are the parts by which a step is known to be the same one, changed: what it does, and not
// under which circumstances.
var identities = map[string][]string{
	RunKey{}.operation():     {"args", "files"},
	CopyKey{}.operation():    {"dest", "sources"},
	WorkdirKey{}.operation(): {"dir"},
}

// identifies says whether a part is one of these. Of the sources of a copy, their names are.
func identifies(operation, part string) bool {
	first, rest, _ := strings.Cut(part, " ")
	if !slices.Contains(identities[operation], first) {
		return false
	}
	return first != "sources" || strings.HasSuffix(rest, " patterns")
}

// nearest finds the step that most of a step was like: the same one at its last time, if there is any.
func nearest(all []fingerprints.Step, now fingerprints.Step, apart bool) (best fingerprints.Step, found bool) {
	least := 0
	for _, f := range all {
		away, same := distance(f, now, apart)
		if !same {
			continue
		}
		if !found || away < least || away == least && f.Done.After(best.Done) {
			best, least, found = f, away, true
		}
	}
	return best, found
}

// distance says how far two steps are from each other, and whether one can be what the other was: it
// does the same, or did something in its place.
func distance(f, now fingerprints.Step, apart bool) (away int, same bool) {
	if f.Operation != now.Operation {
		return 0, false
	}
	identical := true
	for _, name := range differing(f.Parts, now.Parts) {
		away += 2
		if identifies(now.Operation, name) {
			away, identical = away+6, false
		}
	}
	place := f.Stage == now.Stage && f.Number == now.Number
	for _, d := range []struct {
		differs bool
		by      int
	}{{f.Below != now.Below && !apart, 3}, {f.Content != now.Content, 2}, {f.Stage != now.Stage, 2}, {f.Base != now.Base, 1}, {!place, 1}} {
		if d.differs {
			away += d.by
		}
	}
	return away, identical || place && f.Base == now.Base || f.Below == now.Below && f.Stage == now.Stage
}

// differing gives the names of parts that are not the same.
func differing(a, b map[string]fingerprints.Sum) []string {
	var names []string
	for name, value := range a {
		if other, ok := b[name]; !ok || other != value {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// comparison is what has changed between two steps.
type comparison struct {
	before, now fingerprints.Step
	changes     []explain.Change
	more        int
}

// maxChanges bounds what is told of one step.
const maxChanges = 32

func (c *comparison) add(change explain.Change) {
	if len(c.changes) == maxChanges {
		c.more++
		return
	}
	c.changes = append(c.changes, change)
}

// layers compares what the steps were done on. What was not looked up, for the step before is just being
// done, may turn out to be as it was.
func (c *comparison) layers(onImage, looked bool) {
	switch {
	case c.before.Below == c.now.Below && looked:
	case onImage && (c.before.BaseDigest != c.now.BaseDigest || c.before.Base != c.now.Base):
		c.add(explain.Change{Kind: explain.Base, Name: c.now.Base, Before: short(c.before.BaseDigest), Now: short(c.now.BaseDigest)})
	default:
		c.add(explain.Change{Kind: explain.Parent})
	}
}

// short is the beginning of a digest, which is not private.
func short(d string) string {
	algorithm, hex, ok := strings.Cut(d, ":")
	if !ok {
		return d
	}
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// parts compares what the steps say.
func (c *comparison) parts() {
	for _, name := range differing(c.before.Parts, c.now.Parts) {
		change := explain.Change{Kind: explain.Setting, Name: setting(c.now.Operation, name), Before: c.before.Parts[name].String(), Now: c.now.Parts[name].String()}
		if variable, is := strings.CutPrefix(name, "env "); is {
			change.Kind, change.Name = explain.Variable, variable
		}
		switch {
		case change.Before == "":
			change.How, change.Now = "new", ""
		case change.Now == "":
			change.How, change.Before = "gone", ""
		}
		c.add(change)
	}
}

// settings are what parts are called whose names say little.
var settings = map[string]string{
	"run args": "command", "run dir": "working directory", "run files": "here-document", "run rights": "right", "run mounts": "mount",
	"copy dest": "destination", "copy dir": "destination", "copy sources": "source", "workdir dir": "directory",
}

func setting(operation, part string) string {
	first, rest, _ := strings.Cut(part, " ")
	if name := settings[operation+" "+first]; name != "" {
		first = name
	}
	return strings.TrimSpace(first + " " + rest)
}

// files compares what the steps read.
func (c *comparison) files(ctx context.Context, kept *fingerprints.Dir, op Operation) {
	before, ok := kept.Files(c.before.Content)
	var now []fingerprints.File
	if ok && op.Inputs != nil && c.now.Content != "" {
		now, ok = op.Inputs.List(ctx)
	}
	if at := len(c.changes) + c.more; ok {
		if c.compareFiles(before, now); len(c.changes)+c.more > at {
			return
		}
	}
	change := explain.Change{Kind: explain.Files}
	if c.before.Content != "" && c.now.Content != "" {
		change.Before, change.Now = c.before.Content[:8], c.now.Content[:8]
	}
	c.add(change)
}

func (c *comparison) compareFiles(before, now []fingerprints.File) {
	was, is := byPath(before), byPath(now)
	paths := slices.Collect(maps.Keys(is))
	for path := range was {
		if _, there := is[path]; !there {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		a, wasThere := was[path]
		b, isThere := is[path]
		switch {
		case !wasThere:
			c.add(explain.Change{Kind: explain.File, Name: path, How: "new"})
		case !isThere:
			c.add(explain.Change{Kind: explain.File, Name: path, How: "gone"})
		case a != b:
			c.compareFile(path, a, b)
		}
	}
}

func byPath(files []fingerprints.File) map[string]fingerprints.File {
	m := make(map[string]fingerprints.File, len(files))
	for _, f := range files {
		m[f.Path] = f
	}
	return m
}

func (c *comparison) compareFile(path string, a, b fingerprints.File) {
	for _, aspect := range []struct{ how, before, now string }{
		{"type", fileType(a.Mode), fileType(b.Mode)},
		{"content", a.Content.String(), b.Content.String()},
		{"mode", fmt.Sprintf("%04o", a.Mode&0o7777), fmt.Sprintf("%04o", b.Mode&0o7777)},
		{"owner", owner(a), owner(b)},
		{"attributes", a.Attributes.String(), b.Attributes.String()},
	} {
		if aspect.before != aspect.now {
			c.add(explain.Change{Kind: explain.File, Name: path, How: aspect.how, Before: aspect.before, Now: aspect.now})
		}
	}
}

func owner(f fingerprints.File) string {
	if !f.Owned {
		return ""
	}
	return fmt.Sprintf("%d:%d", f.UID, f.GID)
}

func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	}
	return "special file"
}
