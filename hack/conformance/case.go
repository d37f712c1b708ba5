// Package conformance builds many small Dockerfiles with oakum and with Debian's
// buildah and compares the images: see README.md.
package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Tables are the directories of cases, named for the parts of docs/dockerfile.md.
var Tables = []string{"parse", "stages", "variables", "args", "run", "mounts", "options", "copy",
	"config", "onbuild", "heredoc", "ignore", "checks", "contexts"}

// A Case is one build. README.md says what its keys mean.
type Case struct {
	Name  string   // TABLE/NAME
	Rows  []string // of docs/dockerfile.md: "118", "2a.12"
	Setup string
	Files []txtar.File // of the context
	Command
	Expected

	file    string
	archive *txtar.Archive
}

// Command is how both builders are called.
type Command struct {
	Args        []string
	OakumArgs   []string
	BuildahArgs []string
	Context     string
	Stdin       string // name of a file
	Env         []string
}

// Expected is what comes of a case.
type Expected struct {
	Fails   *regexp.Regexp
	Warns   *regexp.Regexp
	Exit    int
	Index   string            // a platform: oakum makes an index, whose image for it is looked at
	Buildah string            // why buildah is not run
	Differs map[string]string // why a path or a setting may differ from buildah's
	Want    map[string]string // files, config, stdout
}

// Load reads all cases below a directory of tables, in the order of their names. The
// error joins all that is wrong in any of them.
func Load(dir fs.FS) ([]*Case, error) {
	var cases []*Case
	var errs []error
	files, err := fs.Glob(dir, "*/*")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		c, err := parse(file, content)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		cases = append(cases, c)
	}
	return cases, errors.Join(errs...)
}

// parse reads one case.
func parse(file string, content []byte) (*Case, error) {
	name, ok := strings.CutSuffix(file, ".txtar")
	c := &Case{Name: name, file: file, archive: txtar.Parse(content)}
	c.Context, c.Differs, c.Want = ".", map[string]string{}, map[string]string{}
	if !ok || !slices.Contains(Tables, path.Dir(file)) {
		return c, fmt.Errorf("not TABLE/NAME.txtar with a TABLE of %s", strings.Join(Tables, ", "))
	}
	for line := range strings.Lines(string(c.archive.Comment)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		if err := c.set(key, strings.TrimSpace(value)); err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, file := range c.archive.Files {
		want, isWant := strings.CutPrefix(file.Name, "want/")
		switch {
		case file.Name == "setup.sh":
			c.Setup = string(file.Data)
		case isWant && !slices.Contains([]string{"files", "config", "stdout"}, want):
			return c, fmt.Errorf("unknown %s", file.Name)
		case isWant:
			c.Want[want] = string(file.Data)
		default:
			c.Files = append(c.Files, file)
		}
	}
	return c, c.check()
}

// set takes one line of the header.
func (c *Case) set(key, value string) (err error) {
	if value == "" {
		return errors.New("no value")
	}
	switch key {
	case "rows":
		c.Rows = append(c.Rows, strings.Fields(value)...)
	case "args":
		c.Args, err = appendWords(c.Args, value)
	case "oakum-args":
		c.OakumArgs, err = appendWords(c.OakumArgs, value)
	case "buildah-args":
		c.BuildahArgs, err = appendWords(c.BuildahArgs, value)
	case "context":
		c.Context = value
	case "stdin":
		c.Stdin = value
	case "env":
		c.Env, err = appendWords(c.Env, value)
	case "fails":
		c.Fails, err = regexp.Compile(value)
	case "warns":
		c.Warns, err = regexp.Compile(value)
	case "index":
		c.Index = value
	case "exit":
		c.Exit, err = strconv.Atoi(value)
	case "buildah":
		c.Buildah = value
	case "differs":
		name, reason, ok := strings.Cut(value, ": ")
		if !ok {
			return errors.New("want NAME: REASON")
		}
		c.Differs[name] = reason
	default:
		return errors.New("unknown key")
	}
	return err
}

// check finds what a case lacks.
func (c *Case) check() error {
	if len(c.Rows) == 0 {
		return errors.New("no rows")
	}
	for _, row := range c.Rows {
		if !slices.Contains(AllRows(), row) {
			return fmt.Errorf("there is no row %s", row)
		}
	}
	builds := c.Fails == nil && c.Exit == 0
	_, printed := c.Want["stdout"]
	switch {
	case c.Buildah == "" && (printed || c.Exit != 0):
		return errors.New("a case that compares output or the exit status cannot run buildah: say why by buildah")
	case c.Buildah != "" && builds && len(c.Want) == 0:
		return errors.New("without buildah something must be wanted: write want/ by -update, and review it")
	}
	for name := range c.Differs {
		want := "config"
		if strings.HasPrefix(name, "/") {
			want = "files"
		}
		if _, ok := c.Want[want]; !ok {
			return fmt.Errorf("differs: %s needs want/%s, which says what is right", name, want)
		}
	}
	return nil
}

// AllRows are the rows of docs/dockerfile.md: 1 to 216, and those of tables 2a and 2b.
func AllRows() []string {
	var rows []string
	for i := 1; i <= 216; i++ {
		rows = append(rows, strconv.Itoa(i))
	}
	for i := 1; i <= 26; i++ {
		rows = append(rows, "2a."+strconv.Itoa(i))
	}
	for i := 27; i <= 55; i++ {
		rows = append(rows, "2b."+strconv.Itoa(i))
	}
	return rows
}

var word = regexp.MustCompile(`^\s*((?:[^\s"']|"[^"]*"|'[^']*')+)`)

// appendWords splits a line at spaces, but not within quotes, which it removes.
func appendWords(words []string, line string) ([]string, error) {
	for rest := line; strings.TrimSpace(rest) != ""; {
		match := word.FindStringSubmatch(rest)
		if match == nil {
			return nil, fmt.Errorf("unpaired quote in %s", line)
		}
		rest = rest[len(match[0]):]
		words = append(words, unquote(match[1]))
	}
	return words, nil
}

func unquote(text string) string {
	var out strings.Builder
	var open rune
	for _, r := range text {
		switch {
		case open == 0 && (r == '"' || r == '\''):
			open = r
		case r == open:
			open = 0
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
