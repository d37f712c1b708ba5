//go:build linux

package authfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/storage/authfile/authtest"
)

// auths is an auth file with logins of a user called as the registry's name says.
func auths(user string, repositories ...string) string {
	var entries []string
	for _, r := range repositories {
		entries = append(entries, fmt.Sprintf("%q: {\"auth\": %q}", r, base64.StdEncoding.EncodeToString([]byte(user+":pw"))))
	}
	return "{\"auths\": {" + strings.Join(entries, ", ") + "}}"
}

func TestFind(t *testing.T) {
	const helper = `#!/bin/sh
read server
case "$HELPER_TOKEN/$1/$server" in
good/get/h.example) echo '{"Username":"helped","Secret":"pw"}';;
good/get/https://old.example) echo '{"Username":"old","Secret":"pw"}';;
good/get/https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"pw"}';;
good/get/t.example) echo '{"Username":"<token>","Secret":"identity"}';;
good/get/bad.example) echo secret-garbage;;
good/*) echo "credentials not found in native keychain"; exit 1;;
*) echo "HELPER_TOKEN is not set" >&2; exit 1;;
esac
`
	type files map[string]string
	for name, test := range map[string]struct {
		files      files
		env        map[string]string
		authFile   string
		repository string
		want       Login
		problem    string
	}{
		"nothing":                       {repository: "h.example/a"},
		"auth.json of the session":      {files: files{"run/containers/auth.json": auths("run", "h.example"), ".config/containers/auth.json": auths("conf", "h.example")}, env: map[string]string{"XDG_RUNTIME_DIR": "run"}, repository: "h.example/a", want: Login{"run", "pw", ""}},
		"auth.json of the home":         {files: files{".config/containers/auth.json": auths("conf", "h.example"), ".docker/config.json": auths("docker", "h.example")}, repository: "h.example/a", want: Login{"conf", "pw", ""}},
		"no session directory":          {files: files{".docker/config.json": auths("docker", "h.example")}, env: map[string]string{"XDG_RUNTIME_DIR": "none"}, repository: "h.example/a", want: Login{"docker", "pw", ""}},
		"a namespace":                   {files: files{".docker/config.json": auths("ns", "h.example/team")}, repository: "h.example/team/a", want: Login{"ns", "pw", ""}},
		"another namespace":             {files: files{".docker/config.json": auths("ns", "h.example/team")}, repository: "h.example/other/a"},
		"another port":                  {files: files{".docker/config.json": auths("u", "h.example:5000")}, repository: "h.example/a"},
		"Docker Hub":                    {files: files{".docker/config.json": auths("hub", "https://index.docker.io/v1/")}, repository: "docker.io/library/a", want: Login{"hub", "pw", ""}},
		"DOCKER_CONFIG":                 {files: files{"d/config.json": auths("d", "h.example"), ".docker/config.json": auths("docker", "h.example")}, env: map[string]string{"DOCKER_CONFIG": "d"}, repository: "h.example/a", want: Login{"d", "pw", ""}},
		"DOCKER_AUTH_CONFIG":            {files: files{".config/containers/auth.json": auths("conf", "h.example")}, env: map[string]string{"DOCKER_AUTH_CONFIG": auths("gitlab", "h.example")}, repository: "h.example/a", want: Login{"gitlab", "pw", ""}},
		"DOCKER_AUTH_CONFIG, another":   {files: files{".config/containers/auth.json": auths("conf", "h.example")}, env: map[string]string{"DOCKER_AUTH_CONFIG": auths("gitlab", "g.example")}, repository: "h.example/a", want: Login{"conf", "pw", ""}},
		"a chosen file alone":           {files: files{"mine": auths("mine", "m.example"), ".docker/config.json": auths("docker", "h.example")}, authFile: "mine", repository: "h.example/a"},
		"before DOCKER_AUTH_CONFIG":     {files: files{"mine": auths("mine", "h.example")}, env: map[string]string{"DOCKER_AUTH_CONFIG": auths("gitlab", "h.example")}, authFile: "mine", repository: "h.example/a", want: Login{"mine", "pw", ""}},
		"credsStore":                    {files: files{".docker/config.json": `{"auths": {"h.example": {}}, "credsStore": "oakumtest"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "h.example/a", want: Login{"helped", "pw", ""}},
		"credsStore, Docker Hub":        {files: files{".docker/config.json": `{"credsStore": "oakumtest"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "docker.io/library/a", want: Login{"hub", "pw", ""}},
		"credsStore, an address":        {files: files{".docker/config.json": `{"credsStore": "oakumtest"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "old.example/a", want: Login{"old", "pw", ""}},
		"credsStore has none":           {files: files{".docker/config.json": `{"credsStore": "oakumtest"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "x.example/a"},
		"credsStore of a chosen file":   {files: files{"mine": `{"credsStore": "oakumtest"}`}, authFile: "mine", env: map[string]string{"HELPER_TOKEN": "good"}, repository: "h.example/a", want: Login{"helped", "pw", ""}},
		"credsStore in the variable":    {env: map[string]string{"HELPER_TOKEN": "good", "DOCKER_AUTH_CONFIG": `{"credsStore": "oakumtest"}`}, repository: "h.example/a", want: Login{"helped", "pw", ""}},
		"credHelpers":                   {files: files{".docker/config.json": `{"credHelpers": {"h.example": "oakumtest"}, "credsStore": "none"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "h.example/a", want: Login{"helped", "pw", ""}},
		"credHelpers of auth.json":      {files: files{".config/containers/auth.json": `{"credHelpers": {"t.example": "oakumtest"}}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "t.example/a", want: Login{"", "", "identity"}},
		"credHelpers, another":          {files: files{".docker/config.json": `{"credHelpers": {"g.example": "oakumtest"}}`}, repository: "h.example/a"},
		"credential-helpers":            {files: files{"registries.conf": "credential-helpers = [\"oakumtest\"]\n"}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "h.example/a", want: Login{"helped", "pw", ""}},
		"without its variable":          {files: files{".docker/config.json": `{"credsStore": "oakumtest"}`}, repository: "h.example/a", problem: "HELPER_TOKEN is not set"},
		"a helper that is not there":    {files: files{".docker/config.json": `{"credsStore": "nowhere"}`}, repository: "h.example/a", problem: "not in PATH"},
		"a helper with a path":          {files: files{".docker/config.json": `{"credsStore": "../../bin/sh"}`}, repository: "h.example/a", problem: "cannot be the name"},
		"a helper that answers rubbish": {files: files{".docker/config.json": `{"credsStore": "oakumtest"}`}, env: map[string]string{"HELPER_TOKEN": "good"}, repository: "bad.example/a", problem: "its answer is not JSON"},
		"another file after a failure":  {files: files{".config/containers/auth.json": `{"credHelpers": {"h.example": "nowhere"}}`, ".docker/config.json": auths("docker", "h.example")}, repository: "h.example/a", want: Login{"docker", "pw", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			home := authtest.Home(t)
			t.Setenv("PATH", filepath.Join(home, "bin")+":"+os.Getenv("PATH"))
			t.Setenv("HELPER_TOKEN", "")
			authtest.Write(t, filepath.Join(home, "bin/docker-credential-oakumtest"), helper)
			for path, text := range test.files {
				authtest.Write(t, filepath.Join(home, path), text)
			}
			for name, value := range test.env {
				if strings.HasPrefix(name, "XDG") || name == "DOCKER_CONFIG" {
					value = filepath.Join(home, value)
				}
				t.Setenv(name, value)
			}
			if test.authFile != "" {
				test.authFile = filepath.Join(home, test.authFile)
			}
			got, err := Find(t.Context(), test.authFile, []string{test.repository})
			if err != nil || got.Found[test.repository] != test.want {
				t.Fatalf("got %+v, %v, want %+v", got, err, test.want)
			}
			problems := strings.Join(got.Problems, "\n")
			if test.problem == "" && problems != "" || !strings.Contains(problems, test.problem) || strings.Contains(problems, "garbage") {
				t.Errorf("problems: %q, want %q", problems, test.problem)
			}
		})
	}
}

func TestAuthFilesThatCannotBeRead(t *testing.T) {
	home := authtest.Home(t)
	_, err := Find(t.Context(), filepath.Join(home, "nowhere"), []string{"h.example/a"})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := Check(filepath.Join(home, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	authtest.Write(t, filepath.Join(home, ".docker/config.json"), "{")
	_, err = Find(t.Context(), "", []string{"h.example/a"})
	if err == nil || !strings.Contains(err.Error(), "config.json is not JSON") {
		t.Errorf("a broken file: %v", err)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", "[]")
	_, err = Find(t.Context(), "", []string{"h.example/a"})
	if err == nil || !strings.Contains(err.Error(), "variable DOCKER_AUTH_CONFIG is not JSON") {
		t.Errorf("a broken variable: %v", err)
	}
}
