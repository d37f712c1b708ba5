package tarfilter

import (
	"fmt"
	"strings"
)

// LeftOut collects what was left out of files, so that it can be said once. The nil LeftOut
// forgets it. It is for one goroutine.
type LeftOut struct{ devices, attributes named }

// named is some things, and the first of them by name.
type named struct {
	count int
	some  []string
}

func (n *named) add(name string) {
	if n.count++; len(n.some) < 3 {
		n.some = append(n.some, name)
	}
}

func (n *named) String() string {
	names := strings.Join(n.some, ", ")
	if more := n.count - len(n.some); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}

// Device notes a device node that could not be made.
func (l *LeftOut) Device(path string) {
	if l != nil {
		l.devices.add(path)
	}
}

// Attribute notes an attribute of storage drivers that a file had.
func (l *LeftOut) Attribute(name, path string) {
	if l != nil {
		l.attributes.add(name + " of " + path)
	}
}

// Notices says what was left out, a sentence for each kind.
func (l *LeftOut) Notices() []string {
	var out []string
	if l.devices.count > 0 {
		out = append(out, "left out device nodes, which an ordinary user cannot make: "+l.devices.String())
	}
	if l.attributes.count > 0 {
		out = append(out, "left out attributes that only storage drivers may set, for they would hide or change files: "+l.attributes.String())
	}
	return out
}
