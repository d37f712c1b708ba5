package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// hostSettings depend on the machine, so that want/config has none of them.
var hostSettings = []string{"architecture", "os", "os.version", "variant"}

// wantedFiles is what want/files says of an image: a line for each path that differs
// from the base image.
func wantedFiles(image *imagetree.Image) string {
	var text strings.Builder
	changes := image.Changes()
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		path := "/" + name
		if quoted := strconv.Quote(path); strings.Contains(path, " ") || len(quoted) != len(path)+2 {
			path = quoted
		}
		fmt.Fprintln(&text, path, changes[name])
	}
	return text.String()
}

// wantedConfig is what want/config says of an image: a line for each setting.
func wantedConfig(image *imagetree.Image) string {
	var text strings.Builder
	settings := image.Settings()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(hostSettings, name) {
			fmt.Fprintln(&text, name, settings[name])
		}
	}
	return text.String()
}

// parseWanted reads the lines of want/files or want/config.
func parseWanted(text string) (map[string]string, error) {
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		name, value, ok := strings.Cut(line, " ")
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			if name, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			value, ok = strings.CutPrefix(line[len(quoted):], " ")
		}
		if !ok {
			return nil, fmt.Errorf("not NAME VALUE: %s", line)
		}
		lines[name] = value
	}
	return lines, nil
}

// Update returns the case's file with these want/ files in place of its own.
func (c *Case) Update(want map[string]string) []byte {
	archive := &txtar.Archive{Comment: c.archive.Comment}
	for _, file := range c.archive.Files {
		if !strings.HasPrefix(file.Name, "want/") {
			archive.Files = append(archive.Files, file)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		archive.Files = append(archive.Files, txtar.File{Name: "want/" + name, Data: []byte(want[name])})
	}
	return txtar.Format(archive)
}
