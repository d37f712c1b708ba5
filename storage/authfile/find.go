// Package authfile finds the logins of registries, keeps them and forgets them, where Podman
// and Docker do: in auth.json files of containers-auth.json(5), in Docker's config.json, and
// with the credential helpers that these and registries.conf name.
package authfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	dockerconfig "go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
)

// Login is what a registry takes as proof of who asks. The zero value is nobody.
type Login struct{ Username, Password, IdentityToken string }

// Logins are those found, by repository, and why others could not be looked up.
type Logins struct {
	Found    map[string]Login
	Problems []string
}

// Find looks up the logins for repositories, each named with its registry. authFile
// alone counts when it is not ""; else these do, in this order: the variable
// DOCKER_AUTH_CONFIG, the auth.json of containers-auth.json(5), and Docker's config.json.
// The helpers that these and registries.conf name are started with the environment of this
// process, so that it must be the user's own and not a worker.
//
// A helper that fails is a problem and no error, for many images need no login. An auth
// file that cannot be read is an error.
func Find(ctx context.Context, authFile string, repositories []string) (Logins, error) {
	files, err := authFiles(authFile)
	if err != nil {
		return Logins{}, err
	}
	defer files.close()
	helpers, err := sysregistriesv2.CredentialHelpers(registriesConf())
	if err != nil {
		return Logins{}, fmt.Errorf("reading registries.conf: %w", err)
	}
	out := Logins{Found: map[string]Login{}}
	for _, repository := range repositories {
		for _, helper := range helpers {
			var l Login
			var err error
			if helper == sysregistriesv2.AuthenticationFileHelper {
				l, err = files.find(ctx, repository)
			} else {
				l, err = askHelper(ctx, helper, registryOf(repository))
			}
			var failed *helperError
			switch {
			case ctx.Err() != nil:
				return out, ctx.Err()
			case errors.As(err, &failed):
				out.Problems = append(out.Problems, failed.Error())
			case err != nil:
				return out, err
			}
			if l != (Login{}) {
				out.Found[repository] = l
				break
			}
		}
	}
	return out, nil
}

func registriesConf() *types.SystemContext {
	return &types.SystemContext{SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF")}
}

func registryOf(repository string) string {
	registry, _, _ := strings.Cut(repository, "/")
	return registry
}

// authFile is one file with logins.
type authFile struct {
	path   string
	name   string // in errors
	legacy bool   // Docker's .dockercfg
	chosen bool   // by the user: it must be readable
	open   *os.File
}

type authFileList []authFile

func (l authFileList) close() {
	for _, f := range l {
		if f.open != nil {
			f.open.Close()
		}
	}
}

// authFiles are those that may hold logins, the most important first.
func authFiles(chosen string) (authFileList, error) {
	if chosen != "" {
		return authFileList{{path: chosen, name: chosen, chosen: true}}, nil
	}
	var files authFileList
	if text := os.Getenv("DOCKER_AUTH_CONFIG"); text != "" {
		f, err := inMemory("auth.json", []byte(text))
		if err != nil {
			return nil, fmt.Errorf("the variable DOCKER_AUTH_CONFIG cannot be used: %w", err)
		}
		files = append(files, authFile{path: memoryPath(f), name: "the variable DOCKER_AUTH_CONFIG", chosen: true, open: f})
	}
	paths := []string{runtimeAuthFile()}
	home, err := os.UserHomeDir()
	if dir := configHome(); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers/auth.json"))
	}
	if docker := os.Getenv("DOCKER_CONFIG"); docker != "" {
		paths = append(paths, filepath.Join(docker, "config.json"))
	} else if err == nil {
		paths = append(paths, filepath.Join(home, ".docker/config.json"))
	}
	for _, path := range paths {
		files = append(files, authFile{path: path, name: path})
	}
	if err == nil {
		path := filepath.Join(home, ".dockercfg")
		files = append(files, authFile{path: path, name: path, legacy: true})
	}
	return files, nil
}

// runtimeAuthFile is where Podman logs in to.
func runtimeAuthFile() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "containers/auth.json")
	}
	return fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())
}

// configHome is "" when there is neither a variable for it nor a home.
func configHome() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config")
}

func (l authFileList) find(ctx context.Context, repository string) (Login, error) {
	var problem error
	for _, f := range l {
		login, err := f.find(ctx, repository)
		var failed *helperError
		if errors.As(err, &failed) {
			problem = err // another file may have it
			continue
		}
		if err != nil || login != (Login{}) {
			return login, err
		}
	}
	return Login{}, problem
}

// find looks a login up in one file: by its helper for the registry, then among its own,
// then by its helper for all.
func (f authFile) find(ctx context.Context, repository string) (Login, error) {
	data, err := os.ReadFile(f.path)
	if err != nil && !f.chosen {
		return Login{}, nil // it is not there, or another user's
	}
	if err != nil {
		return Login{}, fmt.Errorf("the auth file %s cannot be read: %w", f.name, err)
	}
	var conf struct {
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	sys := &types.SystemContext{AuthFilePath: f.path, SystemRegistriesConfPath: os.DevNull, SystemRegistriesConfDirPath: "/proc/self/none"}
	if f.legacy {
		sys.AuthFilePath, sys.LegacyFormatAuthFilePath = "", f.path
	} else if err := json.Unmarshal(data, &conf); err != nil {
		return Login{}, fmt.Errorf("the auth file %s is not JSON of the right form: %w", f.name, err)
	}
	registry := registryOf(repository)
	for _, server := range serverNames(registry) {
		if helper := conf.CredHelpers[server]; helper != "" {
			return askHelper(ctx, helper, registry)
		}
	}
	found, err := dockerconfig.GetCredentials(sys, repository)
	if err != nil {
		return Login{}, fmt.Errorf("the auth file %s cannot be read: %w", f.name, err)
	}
	if l := Login(found); l != (Login{}) || conf.CredsStore == "" {
		return l, nil
	}
	return askHelper(ctx, conf.CredsStore, registry)
}

// serverNames are those under which a registry's login may be kept. Docker keeps that of
// Docker Hub under an address of its first protocol.
func serverNames(registry string) []string {
	if registry == dockerHub {
		return []string{"https://index.docker.io/v1/", "docker.io", "index.docker.io"}
	}
	return []string{registry, "https://" + registry}
}

const dockerHub = "docker.io"

// helperError is a credential helper that could not be asked.
type helperError struct {
	helper, registry string
	err              error
}

func (e *helperError) Error() string {
	return fmt.Sprintf("the login for %s could not be had from docker-credential-%s: %v", e.registry, e.helper, e.err)
}

// helperPatience bounds a helper that asks nobody.
const helperPatience = 2 * time.Minute

// askHelper runs docker-credential-NAME, which speaks the protocol of
// github.com/docker/docker-credential-helpers. No login is no error.
func askHelper(ctx context.Context, helper, registry string) (Login, error) {
	if helper == "" || strings.ContainsAny(helper, "/\x00") {
		return Login{}, &helperError{helper, registry, errors.New("this cannot be the name of a helper")}
	}
	ctx, cancel := context.WithTimeout(ctx, helperPatience)
	defer cancel()
	for _, server := range serverNames(registry) {
		out, err := runHelper(ctx, helper, "get", server)
		if err != nil {
			return Login{}, &helperError{helper, registry, err}
		}
		var found struct{ Username, Secret string }
		if len(out) == 0 {
			continue
		}
		if err := json.Unmarshal(out, &found); err != nil {
			return Login{}, &helperError{helper, registry, errors.New("its answer is not JSON")} // which may be secret
		}
		if found.Username == "<token>" {
			return Login{IdentityToken: found.Secret}, nil
		}
		if found.Secret != "" {
			return Login{Username: found.Username, Password: found.Secret}, nil
		}
	}
	return Login{}, nil
}

// runHelper gives a helper's answer, which is empty when it has none.
func runHelper(ctx context.Context, helper, verb, input string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, verb)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second
	// The death signal comes when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithUs(cmd)
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case strings.Contains(out.String(), "credentials not found"):
		return nil, nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("this program is not in PATH")
	}
	text := strings.Join(strings.Fields(out.String()+" "+complaint.String()), " ")
	return nil, errors.New(cmp.Or(text[:min(len(text), 300)], err.Error()))
}

// Check gives an error for an auth file that cannot be read.
func Check(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the auth file %s does not exist; oakum login --authfile %s REGISTRY makes one: %w", path, path, err)
	}
	if err != nil {
		return fmt.Errorf("the auth file %s cannot be read: %w", path, err)
	}
	return f.Close()
}
