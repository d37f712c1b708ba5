package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	return newApp(streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
}

func TestArrange(t *testing.T) {
	tests := []struct{ in, want string }{
		{"build . -t x", "build --tag=x -- ."},
		{"build -t x . --no-cache -f D", "build --tag=x --no-cache --file=D -- ."},
		{"build --tag=x --tag y .", "build --tag=x --tag=y -- ."},
		{"build --build-arg A=1,2 --label=", "build --build-arg=A=1,2 --label= --"},
		{"build -qt x .", "build --quiet --tag=x -- ."},
		{"build -tx .", "build --tag=x -- ."},
		{"run -h db x", "run --hostname=db -- x"},
		{"run -h", "help run"},
		{"build -t=x .", "build --tag=x -- ."},
		{"build -q=false .", "build --quiet=false -- ."},
		{"build --pull .", "build --pull -- ."},
		{"build --pull=never .", "build --pull=never -- ."},
		{"build -t --odd .", "build --tag=--odd -- ."},
		{"build -- -t", "build -- -t"},
		{"build -", "build -- -"},
		{"bud .", "build -- ."},
		{"--root /r build .", "build --root=/r -- ."},
		{"--root=/r --storage-opt a=b,c images -q", "images --root=/r --storage-opt=a=b,c --quiet --"},
		{"images --root /r", "images --root=/r --"},
		{"--root /r version", "version --"},
		{"run --rm -it -e A=1 img ls -l --root x", "run --interactive --tty --env=A=1 -- img ls -l --root x"},
		{"run img -- -h", "run -- img -- -h"},
		{"run -- img -h", "run -- img -h"},
		{"rm -f a b", "rmi --force -- a b"},
		{"rmi a b -f", "rmi --force -- a b"},
		{"", "help"},
		{"-h", "help"},
		{"--help build", "help"},
		{"--version", "version"},
		{"-v", "version"},
		{"build --help", "help build"},
		{"build . -h", "help build"},
		{"run --help img", "help run"},
		{"help build", "help -- build"},
	}
	for _, test := range tests {
		got, _, err := arrange(testApp(), strings.Fields(test.in))
		if err != nil {
			t.Errorf("arrange %q: %v", test.in, err)
		} else if !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("arrange %q = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestArrangeErrors(t *testing.T) {
	tests := []struct{ in, text, hint string }{
		{"biuld .", `unknown command "biuld"`, "did you mean build?"},
		{"doktor", `unknown command "doktor"`, "did you mean doctor?"},
		{"frobnicate", `unknown command "frobnicate"`, "oakum help lists the commands"},
		{"build --tga x .", "unknown flag --tga for oakum build", "did you mean --tag?"},
		{"build --nocache .", "unknown flag --nocache for oakum build", "did you mean --no-cache?"},
		{"build . --xyzzy=1", "unknown flag --xyzzy for oakum build", "oakum build --help lists the flags"},
		{"build -qz .", "unknown flag -z for oakum build", "oakum build --help lists the flags"},
		{"build --t x .", "unknown flag --t for oakum build", "oakum build --help lists the flags"},
		{"build . -t", "flag -t of oakum build needs a value", ""},
		{"build . --tag", "flag --tag of oakum build needs a value", ""},
		{"--rot x build", "unknown flag --rot for oakum", "did you mean --root?"},
		{"build --version", "unknown flag --version for oakum build", "oakum build --help lists the flags"},
	}
	for _, test := range tests {
		_, _, err := arrange(testApp(), strings.Fields(test.in))
		var usage *usageError
		if !errors.As(err, &usage) || usage.text != test.text || usage.hint != test.hint {
			t.Errorf("arrange %q: %+v, want %q, hint %q", test.in, err, test.text, test.hint)
		}
	}
}

// TestParsing runs the two steps together: what arrange writes must be what urfave/cli
// reads, with commas and flag-like words kept as they are.
func TestParsing(t *testing.T) {
	tests := []struct {
		in              string
		args, tags, opt []string
		root, pull      string
	}{
		{in: "build . -t x -t y,z", args: []string{"."}, tags: []string{"x", "y,z"}},
		{in: "build tag -t tag", args: []string{"tag"}, tags: []string{"tag"}},
		{in: "build help", args: []string{"help"}},
		{in: "build -- --tag", args: []string{"--tag"}},
		{in: "build -o type=oci,dest=f .", args: []string{"."}, opt: []string{"type=oci,dest=f"}},
		{in: "--root /a build . --root /b", args: []string{"."}, root: "/b"},
		{in: "--root /a build .", args: []string{"."}, root: "/a"},
		{in: "build . --pull", args: []string{"."}, pull: "always"},
		{in: "build --pull . --pull=newer", args: []string{"."}, pull: "newer"},
	}
	for _, test := range tests {
		app := testApp()
		called := false
		app.Command("build").Action = func(c *cli.Context) error {
			called = true
			check := func(what string, got, want []string) {
				if !slices.Equal(got, want) {
					t.Errorf("%q: %s is %q, want %q", test.in, what, got, want)
				}
			}
			check("arguments", c.Args().Slice(), test.args)
			check("--tag", values(c, "tag"), test.tags)
			check("--output", values(c, "output"), test.opt)
			check("--root", []string{c.String("root")}, []string{test.root})
			check("--pull", []string{c.Generic("pull").(*pullPolicy).String()}, []string{test.pull})
			return nil
		}
		args, _, err := arrange(app, strings.Fields(test.in))
		if err == nil {
			err = app.RunContext(t.Context(), append([]string{"oakum"}, args...))
		}
		if err != nil || !called {
			t.Errorf("%q: called %v, error %v", test.in, called, err)
		}
	}
}

func TestOptionsAreUnambiguous(t *testing.T) {
	for _, cmd := range testApp().Commands {
		seen := map[string]bool{}
		for _, f := range cmd.Flags {
			for _, name := range f.Names() {
				if seen[name] {
					t.Errorf("oakum %s has two flags %q", cmd.Name, name)
				}
				seen[name] = true
			}
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"same", "same", 0},
		{"kitten", "sitting", 3}, {"biuld", "build", 1}, {"--tga", "--tag", 1}, {"from", "rm", 2}, {"ca", "abc", 3}, {"ab", "b", 1},
	} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
