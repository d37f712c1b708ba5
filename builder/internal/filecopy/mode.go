package filecopy

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is a change of permissions, octal or symbolic, as chmod(1) has it and COPY
// --chmod takes it.
type Mode struct {
	octal   uint32
	changes []change // nil with an octal mode
}

// change is one of a symbolic mode's: the bits of the classes that it names are added,
// removed or replaced.
type change struct {
	op    byte   // '+', '-' or '='
	who   uint32 // the bits that it may touch
	bits  uint32
	ifAny uint32 // the execute bits of X
	copy  byte   // the class whose bits are copied: 'u', 'g', 'o', or 0
}

// classes are the bits of each class.
var classes = map[byte]uint32{'u': unix.S_ISUID | 0o700, 'g': unix.S_ISGID | 0o070, 'o': 0o007, 'a': 0o6777}

// ParseMode reads a mode: octal from 0 to 7777, or symbolic, such as "+x" or
// "u=rwX,go=rX".
func ParseMode(text string) (Mode, error) {
	n, err := strconv.ParseUint(text, 8, 12)
	if err == nil {
		return Mode{octal: uint32(n)}, nil
	}
	var m Mode
	for clause := range strings.SplitSeq(text, ",") {
		if m.changes, err = clauseChanges(m.changes, clause); err != nil {
			return Mode{}, &InvalidError{fmt.Sprintf("chmod %q is neither an octal mode nor a symbolic one such as u=rwX,go=rX", text)}
		}
	}
	return m, nil
}

// clauseChanges reads a clause: classes, and operators with what follows each.
func clauseChanges(changes []change, clause string) ([]change, error) {
	rest := strings.TrimLeft(clause, "ugoa")
	var who uint32
	for _, c := range []byte(clause[:len(clause)-len(rest)]) {
		who |= classes[c]
	}
	if rest == "" {
		return nil, unix.EINVAL
	}
	for rest != "" {
		c := change{op: rest[0], who: who}
		if !strings.ContainsRune("+-=", rune(c.op)) {
			return nil, unix.EINVAL
		}
		end := strings.IndexAny(rest[1:], "+-=") + 1
		if end == 0 {
			end = len(rest)
		}
		if err := c.permissions(rest[1:end]); err != nil {
			return nil, err
		}
		changes, rest = append(changes, c), rest[end:]
	}
	return changes, nil
}

// permissions reads what follows an operator: letters, or one class to copy from.
func (c *change) permissions(letters string) error {
	if len(letters) == 1 && strings.Contains("ugo", letters) {
		c.copy = letters[0]
		return nil
	}
	for _, l := range letters {
		switch l {
		case 'r':
			c.bits |= 0o444
		case 'w':
			c.bits |= 0o222
		case 'x':
			c.bits |= 0o111
		case 'X':
			c.ifAny = 0o111
		case 's':
			c.bits |= unix.S_ISUID | unix.S_ISGID
		case 't':
			c.bits |= unix.S_ISVTX
		default:
			return unix.EINVAL
		}
	}
	return nil
}

// Apply gives the permissions that a file with this st_mode gets. X is an execute
// bit only for a directory, and for a file that had one.
func (m Mode) Apply(mode uint32) uint32 {
	if m.changes == nil {
		return m.octal
	}
	old := mode & 0o7777
	executable := mode&unix.S_IFMT == unix.S_IFDIR || old&0o111 != 0
	now := old
	for _, c := range m.changes {
		bits := c.bits
		if executable || c.op == '-' { // what is taken away may have been given by a change before
			bits |= c.ifAny
		}
		if c.copy != 0 {
			bits = spread(now, c.copy)
		}
		may, clears := c.who, c.who
		switch {
		case c.who == 0: // of all, for builders have no umask
			may, clears = 0o7777, 0o6777
		case c.who != classes['o']:
			may |= unix.S_ISVTX
		}
		if c.copy != 0 {
			clears &= 0o777 // a copy is of r, w and x alone, in GNU's chmod for directories and in BuildKit for all
		}
		bits &= may
		switch c.op {
		case '+':
			now |= bits
		case '-':
			now &^= bits
		default:
			now = now&^clears | bits
		}
	}
	return now
}

// made gives the permissions of directories made on the way to what is copied: an octal
// mode counts for them, too.
func (m *Mode) made() uint32 {
	if m == nil || m.changes != nil {
		return 0o755
	}
	return m.octal & 0o777
}

// spread copies a class's permissions to all classes.
func spread(mode uint32, class byte) uint32 {
	shift := map[byte]uint{'u': 6, 'g': 3, 'o': 0}[class]
	return (mode >> shift & 7) * 0o111
}
