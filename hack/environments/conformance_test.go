//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/hack/conformance"
)

// corpus is all cases of hack/conformance, prepared in a directory that has the same name everywhere.
type corpus struct {
	cases []*conformance.Case
	whole bool // or a part of them
	dir   string
	url   string
}

// wholeCorpus is the variable that asks for all cases; without it every third is built.
const wholeCorpus = "OAKUM_TEST_WHOLE"

// prepareCorpus writes the files of all cases.
func prepareCorpus(t *testing.T) *corpus {
	t.Helper()
	cases, err := conformance.Load(os.DirFS("../conformance/testdata"))
	if err != nil {
		t.Fatal(err)
	}
	c := &corpus{cases: cases, whole: os.Getenv(wholeCorpus) != "", dir: filepath.Join(shared.dir, "cases")}
	if !c.whole {
		c.cases = slices.DeleteFunc(cases, func(one *conformance.Case) bool {
			h := fnv.New32a()
			h.Write([]byte(one.Name))
			return h.Sum32()%3 != 0
		})
	}
	server := httptest.NewServer(http.FileServer(http.Dir(c.dir)))
	t.Cleanup(server.Close)
	c.url = server.URL
	var list strings.Builder
	for _, one := range c.cases {
		if err := c.prepare(one); err != nil {
			t.Fatalf("%s: %v", one.Name, err)
		}
		fmt.Fprintln(&list, one.Name)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "list"), []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// prepare writes the files of a case, and beside them a script that builds it.
func (c *corpus) prepare(one *conformance.Case) error {
	dir := filepath.Join(c.dir, one.Name, "dir")
	expand := conformance.Words{Dir: dir, URL: c.url + "/" + one.Name + "/dir", Registry: shared.registry}.Expand
	setup, err := one.Write(dir, expand)
	if err != nil {
		return err
	}
	var env []string
	script := "cd " + quote(dir) + "\n"
	for _, variable := range one.Env {
		env = append(env, expand(variable))
		name, value, _ := strings.Cut(expand(variable), "=")
		script += "export " + name + "=" + quote(value) + "\n"
	}
	if setup != "" {
		cmd := exec.Command("sh", "-eu", setup)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "CONTAINERS_REGISTRIES_CONF="+shared.dir+"/registries.conf")...)
		if err := run(cmd); err != nil {
			return err
		}
	}
	image := "localhost/" + strings.ToLower(one.Name)
	base, err := one.Base(dir, image+"-base", expand)
	if err != nil {
		return err
	}
	build := []string{"timeout", "60", "oakum", "build", "--source-date-epoch", "1700000000", "--rewrite-timestamp"}
	if base != nil {
		script += command(append(build, base...)) + " >../stdout 2>../stderr || { echo $? >../code; exit 0; }\n"
	}
	build = append(build, "--metadata-file", "../metadata", "-t", image)
	script += command(append(build, one.Arguments(one.OakumArgs, expand)...))
	if one.Stdin != "" {
		script += " <" + quote(one.Stdin)
	}
	script += " >../stdout 2>../stderr\necho $? >../code\n"
	return os.WriteFile(filepath.Join(c.dir, one.Name, "build"), []byte(script), 0o644)
}

func command(args []string) string {
	var words []string
	for _, arg := range args {
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

// quote makes a word of the shell of a text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// outcome is what came of a case.
type outcome struct {
	code           int
	stdout, stderr string
	digest         string
}

// buildAll builds all cases in an environment, in a copy of the corpus that belongs to who builds.
func (c *corpus) buildAll(t *testing.T, name string) map[string]outcome {
	t.Helper()
	e, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	e.hostNetwork = e.setpriv == nil // so that the registry has the same name everywhere
	dir := filepath.Join(shared.dir, "cases-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v := &visit{t: t}
	if v.place, err = shared.start(e, "--volume", dir+":"+c.dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(v.stop(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	}()
	c.copyTo(v, dir)
	for _, base := range []string{"busybox:1.36", "busybox:latest", "alpine:3"} {
		v.run("oakum", "pull", "--quiet", base)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute)
	defer stop()
	start := time.Now()
	all := v.command(ctx, "sh", "-c", "cd "+c.dir+" && xargs -P 2 -n 1 sh -c 'sh \"$0/build\"' <list")
	if err := run(all); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d cases in %v", name, len(c.cases), time.Since(start))
	found := map[string]outcome{}
	for _, one := range c.cases {
		found[one.Name] = readOutcome(t, filepath.Join(dir, one.Name))
	}
	return found
}

// copyTo copies the corpus for who builds, and has it seen under its own name.
func (c *corpus) copyTo(v *visit, dir string) {
	v.t.Helper()
	uid, gid := v.run("id", "-u"), v.run("id", "-g")
	// As who builds, but for what their owner may not read.
	steps := [][]string{{"chown", uid + ":" + gid, dir}, {"setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
		"cp", "-a", "--no-preserve=ownership", c.dir + "/.", dir}}
	if v.environment.setpriv != nil {
		steps = append(steps, []string{"nsenter", "--target", filepath.Base(v.proc), "--mount", "mount", "--bind", dir, c.dir})
	}
	for _, step := range steps {
		if err := run(exec.Command(step[0], step[1:]...)); err != nil {
			v.t.Fatal(err)
		}
	}
}

func readOutcome(t *testing.T, dir string) outcome {
	t.Helper()
	text := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && name != "metadata" {
			t.Error(err)
		}
		return string(bytes.TrimSpace(data))
	}
	o := outcome{stdout: text("stdout"), stderr: text("stderr")}
	var err error
	if o.code, err = strconv.Atoi(text("code")); err != nil {
		t.Error(err)
	}
	var made struct {
		Digest string `json:"containerimage.digest"`
	}
	if metadata := text("metadata"); metadata != "" {
		if err := json.Unmarshal([]byte(metadata), &made); err != nil {
			t.Error(err)
		}
	}
	o.digest = made.Digest
	return o
}

// TestConformance builds the cases of hack/conformance in an environment of each kind. What comes of one is the same
// in all, image for image, or is refused with what is missing, or is told by an exception.
func TestConformance(t *testing.T) {
	c := prepareCorpus(t)
	first := c.buildAll(t, "user")
	for _, one := range c.cases {
		if o := first[one.Name]; (o.code != 0) != (one.Fails != nil || one.Exit != 0) {
			t.Errorf("user: %s: exit status %d\n%s", one.Name, o.code, o.stderr)
		}
	}
	for _, name := range []string{"no-subids", "podman-volume", "docker", "restricted"} {
		t.Run(name, func(t *testing.T) {
			found, same, used := c.buildAll(t, name), 0, map[string]bool{}
			for _, one := range c.cases {
				switch text, reason := differs(one, first[one.Name], found[one.Name]), ""; {
				case text == "":
					same++
				default:
					if reason = excuse(name, one, found[one.Name]); reason == "" {
						t.Errorf("%s: %s: %s\n%s", name, one.Name, text, found[one.Name].stderr)
					}
					used[reason] = true
				}
			}
			t.Logf("%s: %d of %d cases come out as for an ordinary user", name, same, len(c.cases))
			if least := leastSame[name] * len(c.cases) / 100; same < least {
				t.Errorf("%s: only %d cases of %d come out as for an ordinary user, want %d", name, same, len(c.cases), least)
			}
			for _, e := range exceptions {
				if c.whole && slices.Contains(e.where, name) && !used[e.reason] {
					t.Errorf("%s: no case needs the exception %q", name, e.reason)
				}
			}
		})
	}
}
