//go:build linux

package filecopy

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// pattern visits what one pattern names. A pattern without wildcards must name
// something; one with wildcards may match nothing, as in BuildKit.
func (w *walker) pattern(p string) error {
	clean := inside(p)
	if !isPattern(clean) {
		name, err := exactly(clean)
		if err == nil {
			err = w.checkApart(p, name)
		}
		if err != nil {
			return err
		}
		return w.named(p, name)
	}
	names, err := w.matches(p, clean)
	if err != nil {
		return err
	}
	var kept []string
	for _, name := range names {
		apart, err := w.matchApart(name)
		if err != nil {
			return err
		}
		if apart {
			continue
		}
		hidden, _, err := w.hidden(name)
		if err != nil {
			return err
		}
		if !hidden {
			kept = append(kept, name)
		}
	}
	for _, name := range kept {
		if err := w.named(name, name); err != nil {
			return err
		}
	}
	return nil
}

// hidden says whether what name stands for is ignored, and gives its path without links:
// both it and each link to it must be in the context.
func (w *walker) hidden(name string) (bool, string, error) {
	if w.ignore == nil {
		return false, name, nil
	}
	real, err := Resolve(w.src.Root, name)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return false, name, nil // it cannot be opened either
	}
	if err != nil {
		return false, "", err
	}
	real = inside(real)
	for _, p := range []string{name, real} {
		ignored, err := w.ignored(p)
		if ignored && err == nil {
			var kept bool
			kept, err = w.keepsSome(p)
			ignored = !kept
		}
		if err != nil || ignored {
			return ignored, real, err
		}
	}
	return false, real, nil
}

// keepsSome says whether an ignored path is a directory with something in it that is not
// ignored. Without it, BuildKit's context does not have the directory either.
func (w *walker) keepsSome(name string) (bool, error) {
	if !reincludes(w.ignore, name) {
		return false, nil
	}
	dir, err := openIn(w.src.Root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%q: %w", name, err)
	}
	defer dir.Close()
	names, err := readNames(dir)
	if err != nil {
		return false, err
	}
	for _, base := range names {
		child := path.Join(name, base)
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && w.src.apart(&st) {
			continue
		}
		if ignored, err := w.ignored(child); err != nil || !ignored {
			return err == nil, err
		}
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if kept, err := w.keepsSome(child); kept || err != nil {
			return kept, err
		}
	}
	return false, w.ctx.Err()
}

// matchName is path.Match, for names of any bytes.
func matchName(pattern, name string) (bool, error) {
	return path.Match(bytetext.Encode(pattern), bytetext.Encode(name))
}

// inside makes a path relative to the root, which it cannot leave.
func inside(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// isPattern says that a path has a wildcard that is not escaped.
func isPattern(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// exactly gives the path that a pattern without a wildcard names, cleaned.
func exactly(p string) (string, error) {
	var name strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' {
			if i++; i == len(p) {
				return "", &InvalidError{fmt.Sprintf("pattern %q: %v", p, path.ErrBadPattern)}
			}
		}
		name.WriteByte(p[i])
	}
	return inside(name.String()), nil
}

// matches gives the paths that a pattern names, cleaned to clean.
func (w *walker) matches(pattern, clean string) ([]string, error) {
	names, err := w.expand(strings.Split(clean, "/"))
	if errors.Is(err, path.ErrBadPattern) {
		return nil, &InvalidError{fmt.Sprintf("pattern %q: %v", pattern, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return names, nil
}

// expand gives the paths that match the components, in lexical order. Links are followed
// up to the first wildcard, as in BuildKit.
func (w *walker) expand(components []string) ([]string, error) {
	n := slices.IndexFunc(components, isPattern)
	base, err := exactly(path.Join(components[:n]...))
	if err != nil {
		return nil, err
	}
	if apart, err := w.apart(base); err != nil || apart {
		return nil, err
	}
	dir, err := openIn(w.src.Root, base, unix.O_RDONLY|unix.O_DIRECTORY)
	if noDir(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return w.matching(dir, base, components[n:])
}

func noDir(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// matching gives the paths below dir that match the components. What is ignored with all
// in it is not read.
func (w *walker) matching(dir *os.File, at string, components []string) ([]string, error) {
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		ok, err := matchName(components[0], name)
		if err != nil {
			return nil, err
		}
		here := path.Join(at, name)
		gone, err := w.leftOut(here, "")
		if err != nil {
			return nil, err
		}
		if !ok || gone.all {
			continue
		}
		if len(components) == 1 {
			out = append(out, here)
			continue
		}
		sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if noDir(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", here, err)
		}
		var below []string
		apart, err := w.fileApart(sub)
		if err == nil && !apart {
			below, err = w.matching(sub, here, components[1:])
		}
		sub.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return out, nil
}
