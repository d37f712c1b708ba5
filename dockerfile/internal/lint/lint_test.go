package lint

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// rules lists findings as "line Rule".
func rules(findings []Finding) string {
	var list []string
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%d %s", f.Line, f.Rule))
	}
	return strings.Join(list, "\n")
}

// check parses and plans a Dockerfile, and looks at the plan, with a fault or without.
func check(text string, args map[string]string, opts Options) ([]Finding, error) {
	checks, err := New([]byte(text), args)
	if err != nil {
		return nil, err
	}
	p := planned(text, checks, args)
	findings, _ := checks.Look(p, opts)
	return findings, nil
}

// planned plans a Dockerfile as far as that can be done.
func planned(text string, checks *Checks, args map[string]string) *plan.Plan {
	file, err := plan.Parse([]byte(text), checks.Linter())
	if err != nil {
		return nil
	}
	p, _ := file.Plan(plan.Options{Args: args})
	return p
}

// TestEveryRule has a Dockerfile for each rule that breaks it, and one beside it that
// does not.
func TestEveryRule(t *testing.T) {
	other := "arm64v8"
	if runtime.GOARCH == "arm64" {
		other = "s390x"
	}
	ignore := []string{"secret", "tmp/*"}
	for rule, c := range map[string]struct{ bad, good string }{
		"StageNameCasing":                 {"FROM scratch AS Build", "FROM scratch AS build"},
		"FromAsCasing":                    {"FROM scratch as b", "from scratch as b"},
		"NoEmptyContinuation":             {"FROM scratch\nRUN [\"a\", \\\n\n\"b\"]", "FROM scratch\nRUN [\"a\", \\\n# here\n\"b\"]"},
		"ConsistentInstructionCasing":     {"FROM scratch\nCOPY a b\nRun [\"a\"]", "from scratch\ncopy a b\nrun [\"a\"]"},
		"DuplicateStageName":              {"FROM scratch AS a\nFROM scratch AS a", "FROM scratch AS a\nFROM scratch AS b"},
		"ReservedStageName":               {"FROM scratch AS scratch", "FROM scratch AS scratchy"},
		"JSONArgsRecommended":             {"FROM scratch\nCMD a", "FROM scratch\nSHELL [\"/sh\"]\nCMD a"},
		"MaintainerDeprecated":            {"FROM scratch\nMAINTAINER me", "FROM scratch\nLABEL maintainer=me"},
		"UndefinedArgInFrom":              {"ARG VARIANT=x\nFROM b:${VARIAN:-y}", "ARG VARIANT\nFROM b:${VARIANT:-y}"},
		"WorkdirRelativePath":             {"FROM scratch\nWORKDIR a", "FROM scratch AS b\nWORKDIR /a\nFROM b\nWORKDIR c"},
		"UndefinedVar":                    {"FROM scratch\nCOPY $foo /", "FROM scratch AS b\nARG foo\nFROM b\nCOPY $foo $PATH /"},
		"MultipleInstructionsDisallowed":  {"FROM scratch\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]", "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]"},
		"LegacyKeyValueFormat":            {"FROM scratch\nENV a b", "FROM scratch\nENV a=b"},
		"InvalidBaseImagePlatform":        {"FROM " + other + "/busybox", "FROM busybox"},
		"RedundantTargetPlatform":         {"FROM --platform=$TARGETPLATFORM scratch", "FROM --platform=$BUILDPLATFORM scratch"},
		"SecretsUsedInArgOrEnv":           {"FROM scratch\nARG API_KEY", "FROM scratch\nENV PUBLIC_KEY=a KEYBOARD=b"},
		"InvalidDefaultArgInFrom":         {"ARG tag\nFROM busybox:$tag", "ARG tag=1\nFROM busybox:$tag\nFROM oci-archive:/x.tar AS x"},
		"FromPlatformFlagConstDisallowed": {"FROM --platform=linux/s390x scratch AS b", "FROM --platform=linux/s390x scratch AS b-s390x"},
		"CopyIgnoredFile":                 {"FROM scratch\nCOPY tmp/a /", "FROM scratch\nCOPY a /\nADD https://x/secret /"},
		"InvalidDefinitionDescription":    {"# check=experimental=all\n# about\nARG foo=1\nFROM scratch", "# check=experimental=all\n# foo about\nARG foo=1\nFROM scratch"},
		"ExposeProtoCasing":               {"FROM scratch\nEXPOSE 80/TCP", "FROM scratch\nEXPOSE 80/tcp"},
		"ExposeInvalidFormat":             {"FROM scratch\nEXPOSE 127.0.0.1:80:80", "FROM scratch\nEXPOSE 80-90/udp"},
	} {
		t.Run(rule, func(t *testing.T) {
			findings, err := check(c.bad, nil, Options{Ignore: ignore})
			if err != nil || len(findings) != 1 || findings[0].Rule != rule {
				t.Errorf("bad: %v\n%s", err, rules(findings))
			}
			findings, err = check(c.good, nil, Options{Ignore: ignore})
			if err != nil || len(findings) != 0 {
				t.Errorf("good: %v\n%s", err, rules(findings))
			}
		})
	}
}

// TestMountVariables: the values of mounts have variables, too.
func TestMountVariables(t *testing.T) {
	const text = "FROM scratch AS a\nARG dir=/d\nRUN --mount=type=cache,target=$dir/$none y\nRUN --mount=from=a,target=$dir z\nFROM base\nRUN --mount=target=$own y\n"
	findings, _ := check(text, nil, Options{})
	if got, want := rules(findings), "3 UndefinedVar"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestPlaces checks where findings are, and their words.
func TestPlaces(t *testing.T) {
	text, err := os.ReadFile("testdata/every-rule")
	if err != nil {
		t.Fatal(err)
	}
	findings, err := check(string(text), nil, Options{Ignore: []string{"ignored"}})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&got, "%d-%d %s: %s\n", f.Line, f.End, f.Rule, f.Detail)
	}
	want, err := os.ReadFile("testdata/every-rule.findings")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
	names := map[string]bool{}
	for _, f := range findings {
		names[f.Rule] = true
	}
	if len(names) != 22 {
		t.Errorf("%d rules are broken, want 22", len(names))
	}
}

// TestSettings checks what turns rules off and on.
func TestSettings(t *testing.T) {
	const body = "FROM scratch\nWORKDIR a\nCMD b\n"
	for _, c := range []struct{ name, text, argument, want string }{
		{"all rules", body, "", "2 WorkdirRelativePath\n3 JSONArgsRecommended"},
		{"one skipped", "# check=skip=WorkdirRelativePath\n" + body, "", "4 JSONArgsRecommended"},
		{"two skipped", "# check=skip=WorkdirRelativePath,JSONArgsRecommended\n" + body, "", ""},
		{"all skipped", "# check=skip=all\n" + body, "", ""},
		{"one instruction", "FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR a\nCMD b\n", "", "4 JSONArgsRecommended"},
		{"a stage", "# check=skip=StageNameCasing\nFROM scratch AS B\n", "", ""},
		{"the argument wins", "# check=skip=all\n" + body, "skip=WorkdirRelativePath", "4 JSONArgsRecommended"},
		{"experimental alone", "# check=skip=all;experimental=InvalidDefinitionDescription\n# x y\nFROM scratch AS b\n", "", "3 InvalidDefinitionDescription"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args map[string]string
			if c.argument != "" {
				args = map[string]string{"BUILDKIT_DOCKERFILE_CHECK": c.argument}
			}
			findings, err := check(c.text, args, Options{})
			if got := rules(findings); err != nil || got != c.want {
				t.Errorf("%v\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
	if checks, err := New([]byte("# check=error=true\n"+body), nil); err != nil || !checks.Strict {
		t.Errorf("error=true: %+v, %v", checks, err)
	}
	if _, err := check("# escape=`\n# check=skp=all\n"+body, nil, Options{}); err == nil || !strings.Contains(err.Error(), "skp") {
		t.Errorf("bad setting: %v", err)
	}
}

// TestBase checks that what only the base image can tell is asked of it, and not
// reported while it is not known.
func TestBase(t *testing.T) {
	const text = "FROM base AS a\nENV b=$OWN\nFROM a\nENV c=$b d=$OTHER$PATH\nCMD x\n"
	findings, err := check(text, nil, Options{})
	if got := rules(findings); err != nil || got != "5 JSONArgsRecommended" {
		t.Errorf("unknown: %v\n%s", err, got)
	}
	var asked []string
	known := func(s *plan.Stage, ask bool) (Base, bool) {
		if ask {
			asked = append(asked, s.Image)
		}
		return Base{Env: []string{"OWN=1"}}, ask
	}
	findings, err = check(text, nil, Options{Base: known})
	if got := rules(findings); err != nil || got != "4 UndefinedVar\n5 JSONArgsRecommended" {
		t.Errorf("asked: %v\n%s", err, got)
	}
	if want := []string{"base"}; !slices.Equal(slices.Compact(asked), want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	asked = nil
	if _, err := check("FROM base\nENV a=$PATH\nENV b=$a\n", nil, Options{Base: known}); err != nil || asked != nil {
		t.Errorf("%v; asked for %v without need", err, asked)
	}
	built := func(*plan.Stage, bool) (Base, bool) {
		return Base{Env: []string{"OWN=1", "OTHER=2"}, Shell: []string{"/sh"}, OS: "linux", Arch: "sparc"}, true
	}
	findings, err = check(text, nil, Options{Base: built})
	if got := rules(findings); err != nil || got != "1 InvalidBaseImagePlatform" {
		t.Errorf("known: %v\n%s", err, got)
	}
	const two = "FROM scratch\nWORKDIR a\nFROM scratch\nWORKDIR b\n"
	checks, err := New([]byte(two), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := planned(two, checks, nil)
	findings, _ = checks.Look(p, Options{Stages: p.Needed()})
	if got := rules(findings); got != "4 WorkdirRelativePath" {
		t.Errorf("needed: %s", got)
	}
}

// TestTriggers checks that ONBUILD triggers are looked at where they run, and that what
// they set is known.
func TestTriggers(t *testing.T) {
	const child = "ENV a=$V\nWORKDIR y\n"
	findings, err := check("FROM scratch AS a\nONBUILD ARG V=1\nONBUILD WORKDIR x\nONBUILD ENV TOKEN=$NONE\nONBUILD cmd y\nFROM a\n"+child, nil, Options{})
	const want = "6 WorkdirRelativePath\n6 UndefinedVar\n6 SecretsUsedInArgOrEnv\n6 JSONArgsRecommended"
	if got := rules(findings); err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("own: %v\n%s", err, got)
	}
	for _, known := range []bool{true, false} {
		base := func(_ *plan.Stage, ask bool) (Base, bool) {
			return Base{OnBuild: []string{"ARG V", "ENV w=1", "WORKDIR /x", "nonsense"}}, known || ask
		}
		findings, err = check("FROM base\nENV a=$V b=$w c=$none\nWORKDIR y\n", nil, Options{Base: base})
		if got := rules(findings); err != nil || got != "2 UndefinedVar" {
			t.Errorf("of an image (%t): %v\n%s", known, err, got)
		}
	}
}

// FuzzCheck checks that no text makes the checks panic, and that findings are in the
// file.
func FuzzCheck(f *testing.F) {
	text, err := os.ReadFile("testdata/every-rule")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("FROM a\n# check=skip=x\nCOPY --from=0 <<a /\n$b\na\n")
	f.Add("ARG a=$a\nFROM ${a:-scratch}\nENV $a=$b\nEXPOSE $x:/\nRUN --mount=type=secret,id=$a true\n")
	f.Fuzz(func(t *testing.T, text string) {
		count := strings.Count(text, "\n") + 1
		checks, err := New([]byte(text), nil)
		if err != nil {
			return
		}
		p := planned(text, checks, nil)
		findings, _ := checks.Look(p, Options{Ignore: []string{"a"}})
		for _, finding := range findings {
			if finding.Line < 1 || finding.Line > count {
				t.Errorf("%s in line %d of %d", finding.Rule, finding.Line, count)
			}
		}
		if p != nil {
			Targets(p)
		}
	})
}
