package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkRun runs build with flags on a Dockerfile, with a store that does not exist.
func checkRun(t *testing.T, text string, flags ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(t.TempDir(), "store")
	var out, errs bytes.Buffer
	args := append([]string{"--root", store, "build"}, flags...)
	code = run(t.Context(), append(args, dir), streams{out: &out, err: &errs})
	if _, err := os.Stat(store); err == nil {
		t.Error("a store was opened")
	}
	return code, out.String(), errs.String()
}

// One of two things that are done in place of a build is not done without a word.
func TestCallsBesideDryRun(t *testing.T) {
	for flag, name := range map[string]string{
		"--check": "--check", "--call=check": "--call=check", "--call=outline,format=json": "--call=outline", "--call=subrequests.describe": "--call=subrequests.describe",
	} {
		code, out, errs := checkRun(t, "FROM scratch\n", "--dry-run", flag)
		if want := "error: --dry-run and " + name + " exclude each other\n"; code != exitUsage || out != "" || errs != want {
			t.Errorf("%s: %d %q %q", flag, code, out, errs)
		}
	}
	if code, _, errs := checkRun(t, "FROM scratch\nWORKDIR /a\n", "--dry-run=false", "--check"); code != exitOK || errs != "" {
		t.Errorf("--dry-run=false: %d %q", code, errs)
	}
}

func TestCheckFlag(t *testing.T) {
	code, out, errs := checkRun(t, "FROM scratch\nCMD a\nWORKDIR b\n", "--check")
	const want = `Check complete, 2 warnings have been found!

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:2
--------------------
   1 |     FROM scratch
   2 | >>> CMD a
   3 |     WORKDIR b
--------------------

WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/
Relative workdir "b" can have unexpected results if the base image changes
Dockerfile:3
--------------------
   1 |     FROM scratch
   2 |     CMD a
   3 | >>> WORKDIR b
--------------------
`
	if code != 3 || out != want || errs != "" {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	for _, c := range []struct {
		text, flag, out, err string
		code                 int
	}{
		{"FROM scratch\n", "--check", "Check complete, no warnings found.\n", "", 0},
		{"FROM scratch\nCMD a\n", "--call=check,ignorestatus=true", "Check complete, 1 warning", "", 0},
		{"FROM scratch\nCMD a\nCPY\n", "--check", "", "unknown instruction: CPY", 3},
		{"FROM scratch\nCMD a\n", "--call=chek", "", "--call must be", 2},
		{"FROM scratch\nCMD a\n", "--call=check,format=xml", "", "format=xml", 2},
	} {
		code, out, errs := checkRun(t, c.text, c.flag)
		if code != c.code || !strings.HasPrefix(out, c.out) || !strings.Contains(errs, c.err) {
			t.Errorf("%s of %q: exit code %d\n%s%s", c.flag, c.text, code, out, errs)
		}
	}
}

func TestCallText(t *testing.T) {
	const text = "# VERSION is the release\nARG VERSION=1\n# app is it all\nFROM base:$VERSION AS app\nRUN --mount=type=secret,id=key,required a\nFROM scratch AS last\n"
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--call=targets"}, "TARGET           DESCRIPTION\napp              is it all\nlast (default)\n"},
		{[]string{"--call=subrequests.describe"}, "NAME                   VERSION   DESCRIPTION\nlint                   1.0.0     check the Dockerfile\noutline                1.0.0     show the build arguments and secrets of the target\n" +
			"targets                1.0.0     list the stages that can be built\nsubrequests.describe   1.0.0     list these requests\n"},
		{[]string{"--call=outline", "--target=app"}, "TARGET:        app\nDESCRIPTION:   is it all\n\n" +
			"BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       is the release\n\nSECRET   REQUIRED\nkey      true\n\n"},
	} {
		if code, out, errs := checkRun(t, text, c.flags...); code != 0 || out != c.want {
			t.Errorf("%v: exit code %d\n%s%s", c.flags, code, out, errs)
		}
	}
}

func TestCallJSON(t *testing.T) {
	const text = "# app is it\nFROM scratch AS app\nARG a=1\nCMD b\n"
	spaces := regexp.MustCompile(`\s+`)
	const place = `"location":{"ranges":[{"start":{"line":%},"end":{"line":%}}]}`
	at := func(line string) string { return strings.ReplaceAll(place, "%", line) }
	data, err := json.Marshal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]string{
		"targets": `{"targets":[{"name":"app","default":true,"description":"isit","base":"scratch",` + at("2") + `}],"sources":[DATA]}`,
		"outline": `{"name":"app","description":"isit","args":[{"name":"a","value":"1",` + at("3") + `}],"sources":[DATA]}`,
		"lint": `{"warnings":[{"ruleName":"JSONArgsRecommended","description":"JSONargumentsrecommendedforENTRYPOINT/CMDtopreventunintendedbehaviorrelatedtoOSsignals",` +
			`"url":"https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",` +
			`"detail":"JSONargumentsrecommendedforCMDtopreventunintendedbehaviorrelatedtoOSsignals",` + at("4") + `}],` +
			`"sources":[{"filename":"Dockerfile","language":"Dockerfile","data":DATA}]}`,
	} {
		_, out, errs := checkRun(t, text, "--call="+method+",format=json")
		if got := spaces.ReplaceAllString(out, ""); got != strings.ReplaceAll(want, "DATA", string(data)) {
			t.Errorf("%s:\n%s%s", method, got, errs)
		}
	}
}
