//go:build linux

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/hack/conformance"
)

// leastSame is how many of a hundred cases are the same as for an ordinary user, at least, so that a refusal of all
// would not do.
var leastSame = map[string]int{"no-subids": 90, "podman-volume": 95, "docker": 93, "restricted": 50}

// exception is a rule by which a case may come out otherwise in some environments: oakum says so in words that match
// said, or what the Dockerfile does matches does.
type exception struct {
	where  []string
	said   *regexp.Regexp
	does   *regexp.Regexp
	reason string
}

var exceptions = []exception{
	{[]string{"podman-volume", "docker", "restricted"}, regexp.MustCompile(`the git program is needed and not installed`), nil, "the image of the environments has no git"},
	{[]string{"no-subids"}, regexp.MustCompile(`the [ug]id \d+ is not mapped|: Invalid argument`), nil, "there is one id, and a command wants another"},
	{[]string{"no-subids"}, nil, regexp.MustCompile(`--keep-git-dir`), "git's index has the times and numbers of its files"},
	{[]string{"restricted"}, regexp.MustCompile(`open Dockerfile: permission denied`), nil, "a file that its owner may not read is read by nobody without capabilities"},
	{[]string{"podman-volume", "docker"}, nil, regexp.MustCompile(`/proc/self/status|/proc/keys|/sys/|\$\$`), "a command reads what the container is like: its filter, its masked files, its devices, the numbers of its processes"},
	{[]string{"docker"}, nil, regexp.MustCompile(`--mount=.*! (touch|rm) |/d/a >+ /a`), "a command writes to what is read-only, and is a copy there"},
	{[]string{"docker"}, nil, regexp.MustCompile(`--mount=type=tmpfs.*(df -k|/proc/mounts)`), "a command asks for a tmpfs, which is a directory there"},
	{[]string{"docker"}, nil, regexp.MustCompile(`chroot / true`), "who has a mere root directory may not have another"},
	{[]string{"docker", "no-subids"}, nil, regexp.MustCompile(`ln /h/a /h/c|ln /bin/busybox`), "a file of the layers below has several names, and gets another one"},
}

// differs says how what came of a case is not what came of it first.
func differs(one *conformance.Case, first, found outcome) string {
	switch {
	case strings.Contains(found.stderr, "panic: "):
		return "a panic"
	case found.code != first.code:
		return fmt.Sprintf("exit status %d, and elsewhere %d", found.code, first.code)
	case found.digest != first.digest:
		return fmt.Sprintf("the image is %s, and elsewhere %s", found.digest, first.digest)
	case found.stdout != first.stdout:
		return fmt.Sprintf("it writes\n%s\nand elsewhere\n%s", found.stdout, first.stdout)
	case one.Fails != nil && !one.Fails.MatchString(found.stderr):
		return fmt.Sprintf("it should say %q", one.Fails)
	}
	return ""
}

// excuse is why a case may come out otherwise in an environment, or "". A machine's refusal (exit status 4) is one, when it says
// what is to be done.
func excuse(where string, one *conformance.Case, found outcome) string {
	if found.code == 4 && strings.Contains(found.stderr, "hint: to mend it: ") && !strings.Contains(found.stderr, "panic: ") {
		return "refused"
	}
	for _, e := range exceptions {
		if !slices.Contains(e.where, where) {
			continue
		}
		if e.said != nil && e.said.MatchString(found.stderr) {
			return e.reason
		}
		for _, file := range one.Files {
			if e.does != nil && file.Name == "Dockerfile" && e.does.Match(file.Data) {
				return e.reason
			}
		}
	}
	return ""
}
