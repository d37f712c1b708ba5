package main

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestForeignFlags gives every flag of the table with every value that it has a rule for.
func TestForeignFlags(t *testing.T) {
	for command, flags := range foreignFlags {
		words := []string{command}
		if command == foreignGlobals {
			words = []string{"images"}
		}
		for _, f := range flags {
			for _, name := range strings.Split(f.names, ", ") {
				for _, r := range f.rules {
					checkRule(t, command, words, f, name, r)
				}
			}
			if last := f.rules[len(f.rules)-1]; f.value != "" && len(last.values) > 0 {
				t.Errorf("%s %s has no rule for other values", command, f.names)
			}
			checkSwitch(t, f)
		}
	}
}

// checkRule types a flag in each of its forms with a value of the rule.
func checkRule(t *testing.T, command string, words []string, f foreignFlag, name string, r rule) {
	t.Helper()
	value := "anything-else"
	switch {
	case len(r.values) > 0:
		value = strings.Replace(r.values[0], "*", "x", 1)
	case f.value == "":
		value = "true"
	}
	forms := [][]string{{name + "=" + value}}
	switch {
	case f.value != "":
		forms = append(forms, []string{name, value})
	case value == "true":
		forms = append(forms, []string{name})
	}
	for _, form := range forms {
		args := append(slices.Clone(words), form...)
		if command == foreignGlobals {
			args = append(slices.Clone(form), words...)
		}
		line, warnings, err := arrange(testApp(), append(args, "."))
		var usage *usageError
		switch r.verdict {
		case holds:
			if err != nil || len(warnings) > 0 || !slices.Equal(line, append(words, "--", ".")) {
				t.Errorf("%q: %q, warnings %q, error %v", args, line, warnings, err)
			}
		case missed:
			if err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], " has no effect: "+r.words) || !strings.HasPrefix(warnings[0], name) {
				t.Errorf("%q: warnings %q, error %v", args, warnings, err)
			}
		case refused:
			if !errors.As(err, &usage) || !strings.HasSuffix(usage.text, " is not supported: "+r.words) || !strings.HasPrefix(usage.text, name) {
				t.Errorf("%q: error %v", args, err)
			}
		default:
			t.Errorf("%s: verdict %q", f.names, r.verdict)
		}
	}
}

// checkSwitch checks that a switch has a verdict on both of its values.
func checkSwitch(t *testing.T, f foreignFlag) {
	t.Helper()
	if f.value != "" {
		return
	}
	for _, value := range []string{"true", "false", "1", "F"} {
		if _, _, err := f.judge(f.names, value); err != nil {
			t.Errorf("%s=%s: %v", f.names, value, err)
		}
	}
	if _, _, err := f.judge(f.names, "maybe"); err == nil {
		t.Errorf("%s=maybe is no error", f.names)
	}
}

// TestForeignFlagsOfPeers checks that each flag of the peers is a flag here or in the
// table, and whether it takes a value.
func TestForeignFlagsOfPeers(t *testing.T) {
	list, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	app := testApp()
	for line := range strings.Lines(string(list)) {
		command, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		own := app.Flags
		if command != foreignGlobals {
			own = app.Command(command).Flags
		}
		typed, want, _ := strings.Cut(rest, " ")
		name := strings.TrimLeft(typed, "-")
		got := "unknown"
		if f, ok := lookupForeign(command, name); ok {
			got = map[bool]string{true: "switch", false: "value"}[f.value == ""]
		} else if f := lookupFlag(own, name); f != nil {
			got = arity(f)
		}
		if got != want {
			t.Errorf("%s %s is %s, not %s", command, typed, got, want)
		}
	}
}

func arity(f cli.Flag) string {
	if _, ok := f.(*boolFlag); ok {
		return "switch"
	}
	if valueOptional(f) {
		return "optional"
	}
	return "value"
}

func TestForeignFlagsAreUnambiguous(t *testing.T) {
	app := testApp()
	for _, name := range secretValues {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(foreignFlags)), func(command string) bool {
			return slices.ContainsFunc(foreignFlags[command], func(f foreignFlag) bool { return f.list()[0] == name })
		}) {
			t.Errorf("no flag is called %q first", name)
		}
	}
	for command, flags := range foreignFlags {
		seen := map[string]bool{}
		for _, f := range flags {
			for _, name := range f.list() {
				if seen[name] {
					t.Errorf("%q has two flags %q", command, name)
				}
				seen[name] = true
				own := app.Flags
				if command != foreignGlobals {
					own = app.Command(command).Flags
				}
				if lookupFlag(own, name) != nil {
					t.Errorf("oakum %s has a flag %q of its own", command, name)
				}
			}
		}
	}
}

func TestForeignFlagsInALine(t *testing.T) {
	tests := []struct {
		in, want string
		warnings []string
	}{
		{in: "build . --memory 2g -t x --rm", want: "build --memory=2g --tag=x -- ."},
		{in: "run --cpu-rt-period 1 --cpu-rt-period=2 --pids-limit 0 --oom-score-adj=3 x", want: "run -- x", warnings: []string{
			"--cpu-rt-period=1, --oom-score-adj=3 have no effect: " + noLimits,
		}},
		{in: "buildx --builder default build -t x .", want: "build --tag=x -- ."},
		{in: "buildx --builder=other --root /r build .", want: "build --root=/r -- .", warnings: []string{
			"--builder=other has no effect: oakum itself builds, there are no others to choose from",
		}},
		{in: "build --cache-to type=s3,secret_access_key=hunter2 .", want: "build --cache-to=type=s3,secret_access_key=hunter2 -- ."},
		{in: "buildx --help", want: "help"},
		{in: "build -qDt x .", want: "build --quiet --tag=x -- ."},
		{in: "build -D=1 .", want: "build -- ."},
		{in: "build --ipc host -- --ipc", want: "build -- --ipc", warnings: []string{"--ipc=host has no effect: commands have an IPC namespace of their own"}},
		{in: "build --net host -mg -- --net", want: "build --network=host --memory=g -- --net"},
		{in: "--log-level debug build --log-level=info .", want: "build -- .", warnings: []string{
			"--log-level=debug has no effect: there is no log besides the progress",
		}},
		{in: "buildx build --load .", want: "build -- ."},
		{in: "image build .", want: "build -- ."},
		{in: "builder build .", want: "build -- ."},
		{in: "image ls -q", want: "images --quiet --"},
		{in: "image rm -f a", want: "rmi --force -- a"},
		{in: "builder prune -af", want: "prune --all --force --"},
		{in: "buildx prune", want: "prune --"},
		{in: "image tag a b", want: "tag -- a b"},
		{in: "run --rm --network=host img --network=none", want: "run --network=host -- img --network=none"},
	}
	for _, test := range tests {
		got, warnings, err := arrange(testApp(), strings.Fields(test.in))
		if err != nil || !slices.Equal(got, strings.Fields(test.want)) || !slices.Equal(warnings, test.warnings) {
			t.Errorf("%q: %q, %q, %v", test.in, got, warnings, err)
		}
	}
}

func TestForeignErrors(t *testing.T) {
	tests := []struct{ in, text, hint string }{
		{"build --hooks-dir d .", "--hooks-dir=d is not supported: RUN has no hooks", ""},
		{"build --stdin .", "--stdin is not supported: the standard input of a RUN is empty", ""},
		{"build --decryption-key key.pem:hunter2 .", "--decryption-key is not supported: encrypted images cannot be read", ""},
		{"build --rm=maybe .", `invalid boolean value "maybe" for --rm`, ""},
		{"build -D -o type=oci,dest=x .", "-D is not supported together with --output: layers are not compressed in the store; a push and --output compress them", ""},
		{"build --push --disable-compression .", "--disable-compression is not supported together with --push: layers are not compressed in the store; a push and --output compress them", ""},
		{"build . --memory", "flag --memory of oakum build needs a value", ""},
		{"build . -m", "flag -m of oakum build needs a value", ""},
		{"build --isolatoin=oci .", "unknown flag --isolatoin for oakum build", "did you mean --isolation?"},
		{"build -network=host .", "unknown flag -n for oakum build", "did you mean --network?"},
		{"build -no-cache .", "unknown flag -n for oakum build", "did you mean --no-cache?"},
		{"from busybox", `oakum has no command "from": oakum builds from Dockerfiles; a Go program can use package builder for single steps`, ""},
		{"image scp x", `oakum has no command "image scp": oakum save writes an archive to copy, and oakum load reads it`, ""},
		{"image lst", `unknown command "image lst"`, "did you mean image ls?"},
		{"image", `unknown command "image"`, "did you mean images?"},
		{"buildx create --use", `oakum has no command "buildx create": ` + oneBuilder, ""},
		{"builder xyz", `unknown command "builder xyz"`, "oakum help lists the commands"},
		{"rum x", `unknown command "rum"`, "did you mean run?"},
	}
	for _, test := range tests {
		_, _, err := arrange(testApp(), strings.Fields(test.in))
		var usage *usageError
		if !errors.As(err, &usage) || usage.text != test.text || usage.hint != test.hint {
			t.Errorf("%q: %#v", test.in, err)
		}
	}
}

func TestForeignVariables(t *testing.T) {
	tests := []struct {
		name, value, command string
		given                string
		warning, err         string
	}{
		{name: "BUILDAH_LAYERS", value: "true", command: "build"},
		{name: "BUILDAH_LAYERS", value: "", command: "build"},
		{name: "BUILDAH_LAYERS", value: "false", command: "images"},
		{name: "BUILDAH_LAYERS", value: "false", command: "build", err: "BUILDAH_LAYERS=false is not supported: each step is a layer; --no-cache runs every step anew"},
		{name: "BUILDAH_LAYERS", value: "false", command: "build", given: "--layers"},
		{name: "BUILDAH_RUNTIME", value: "runc", command: "build"},
	}
	for _, test := range tests {
		uses, err := variableUses(test.command, []foreignUse{{flag: test.given}}, func(name string) (string, bool) {
			return test.value, name == test.name
		})
		warnings, _ := foreignWarnings(uses, nil)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if len(warnings) > 0 || text != test.err {
			t.Errorf("%s=%s: %q, %v", test.name, test.value, warnings, err)
		}
	}
}
