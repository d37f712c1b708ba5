package imagetree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Difference is a path or a setting in which two images, or an image and what is
// expected of it, differ.
type Difference struct {
	Name      string // a path has a leading slash, a setting has none
	Got, Want string // empty when there is none
}

// String is the difference on three lines.
func (d Difference) String() string {
	show := func(text string) string {
		if text == "" {
			return "(none)"
		}
		return text
	}
	return fmt.Sprintf("%s\n    got:  %s\n    want: %s", d.Name, show(d.Got), show(d.Want))
}

// Compare lists where the image differs from one that Buildah built, which may have
// left the traces of RUN that Trace knows: the image itself must not.
func Compare(got, buildah *Image) []Difference {
	g, w := got.Files.Lines(), buildah.Files.Lines()
	maps.DeleteFunc(w, func(name, _ string) bool { return Trace(name) && g[name] == "" })
	return append(CompareFiles(g, w), CompareSettings(got.comparable(), buildah.comparable())...)
}

// comparable are the settings without what says the same in other words: the order of
// variables, of which Buildah puts those that are set again last, and the working
// directory "/", which only BuildKit and oakum spell out.
func (i *Image) comparable() map[string]string {
	sorted := *i
	sorted.Config = maps.Clone(i.Config)
	if env, ok := i.Config["Env"].([]any); ok {
		env = slices.Clone(env)
		slices.SortFunc(env, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		sorted.Config["Env"] = env
	}
	if i.Config["WorkingDir"] == "/" {
		delete(sorted.Config, "WorkingDir")
	}
	return sorted.Settings()
}

// Trace reports whether a path is one that Buildah's RUN leaves in an image.
func Trace(name string) bool {
	return slices.Contains([]string{"etc/hosts", "etc/hostname", "etc/resolv.conf", "run"}, name) ||
		strings.HasPrefix(name, "run/")
}

// CompareFiles compares two sets of lines by path.
func CompareFiles(got, want map[string]string) []Difference { return compare("/", got, want) }

// CompareSettings compares two sets of settings by name.
func CompareSettings(got, want map[string]string) []Difference { return compare("", got, want) }

func compare(prefix string, got, want map[string]string) []Difference {
	names := map[string]bool{}
	for name := range got {
		names[name] = true
	}
	for name := range want {
		names[name] = true
	}
	var differences []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if got[name] != want[name] {
			differences = append(differences, Difference{prefix + name, got[name], want[name]})
		}
	}
	return differences
}
