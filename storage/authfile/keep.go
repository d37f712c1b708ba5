package authfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	dockerconfig "go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
)

// Place is where logins are kept. With the zero value that is where Podman keeps them:
// with a helper of registries.conf, in the auth.json of the session, or in that of the home
// where there is no session.
type Place struct {
	AuthFile string // an auth.json
	Docker   string // or a config.json of Docker's
}

// context is what containers/image goes by.
func (p Place) context() (*types.SystemContext, error) {
	sys := registriesConf()
	switch {
	case p.AuthFile != "" && p.Docker != "":
		return nil, errors.New("a login is kept in an auth.json or in Docker's config.json, not in both")
	case p.Docker != "":
		sys.DockerCompatAuthFilePath = p.Docker
	case p.AuthFile != "":
		sys.AuthFilePath = p.AuthFile
	default:
		path, err := writableAuthFile()
		if err != nil {
			return nil, err
		}
		sys.AuthFilePath = path
	}
	return sys, nil
}

// writableAuthFile is the auth.json of the session, where there is one.
func writableAuthFile() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return filepath.Join(dir, "containers/auth.json"), nil
		}
	} else if os.Geteuid() == 0 {
		return runtimeAuthFile(), nil
	}
	if dir := configHome(); dir != "" {
		return filepath.Join(dir, "containers/auth.json"), nil
	}
	return "", errors.New("there is neither XDG_RUNTIME_DIR nor a home directory to keep a login in; name a file by --authfile")
}

// Keep keeps a login for a registry or, below it, a namespace or repository, as ParseKey
// reads it, and says where. It asks no registry whether the login is right.
func (p Place) Keep(ctx context.Context, key, username, password string) (where string, err error) {
	sys, err := p.context()
	if err != nil {
		return "", err
	}
	key, host, err := ParseKey(key)
	if err != nil {
		return "", err
	}
	if helper := dockerStore(p.Docker); helper != "" {
		return keepInHelper(ctx, helper, host, username, password)
	}
	if where, err = dockerconfig.SetCredentials(sys, key, username, password); err != nil {
		return "", fmt.Errorf("keeping the login for %s: %w", key, err)
	}
	return where, nil
}

// Check gives the error that Keep would give before it keeps anything.
func (p Place) Check() error {
	_, err := p.context()
	return err
}

// ParseKey reads what a login is for, a registry or below it a namespace or repository, in the
// forms that users of other programs write. host is its registry.
func ParseKey(text string) (key, host string, err error) {
	key, _ = strings.CutPrefix(text, "https://")
	key, _ = strings.CutPrefix(key, "http://")
	key = strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(key, "/"), "/v1"), "/v2")
	if key == "" || key == "index.docker.io" || key == "registry-1.docker.io" {
		key = dockerHub
	}
	named, err := reference.ParseNormalizedNamed(key + "/x")
	if host = registryOf(key); err != nil || named.Name() != key+"/x" && host != dockerHub {
		return "", "", fmt.Errorf("%w %q: it is not the name of a registry, such as registry.example:5000", imageref.ErrInvalid, text)
	}
	return key, host, nil
}

// dockerStore is the helper that keeps all logins of a config.json of Docker's.
func dockerStore(path string) string {
	var conf struct {
		CredsStore string `json:"credsStore"`
	}
	data, err := os.ReadFile(path)
	if path == "" || err != nil || json.Unmarshal(data, &conf) != nil {
		return ""
	}
	return conf.CredsStore
}

func keepInHelper(ctx context.Context, helper, host, username, password string) (string, error) {
	login, err := json.Marshal(map[string]string{"ServerURL": serverNames(host)[0], "Username": username, "Secret": password})
	if err == nil {
		_, err = runHelper(ctx, helper, "store", string(login))
	}
	if err != nil {
		return "", fmt.Errorf("keeping the login for %s by docker-credential-%s: %w", host, helper, err)
	}
	return "docker-credential-" + helper, nil
}

// ErrNotLoggedIn says that there is no login for a registry.
var ErrNotLoggedIn = errors.New("not logged in")

// Forget forgets the login for a registry, namespace or repository, or all logins when key
// is "". Logins that are kept elsewhere stay; for which of them key is still logged in as
// whom is what remains, or "".
func (p Place) Forget(ctx context.Context, key string) (remains string, err error) {
	sys, err := p.context()
	if err != nil {
		return "", err
	}
	if key == "" {
		return "", dockerconfig.RemoveAllAuthentication(sys)
	}
	key, host, err := ParseKey(key)
	if err != nil {
		return "", err
	}
	err = dockerconfig.RemoveAuthentication(sys, key)
	if errors.Is(err, dockerconfig.ErrNotLoggedIn) {
		err = fmt.Errorf("%w to %s by %s%s", ErrNotLoggedIn, key, sys.AuthFilePath, sys.DockerCompatAuthFilePath)
	}
	if helper := dockerStore(p.Docker); helper != "" {
		_, err = runHelper(ctx, helper, "erase", serverNames(host)[0])
	}
	if p != (Place{}) {
		return "", err
	}
	left, leftErr := p.User(ctx, key)
	if leftErr != nil {
		left = ""
	}
	return left, err
}

// User is the user whose login there is for a registry, namespace or repository. The
// error matches ErrNotLoggedIn when there is none.
func (p Place) User(ctx context.Context, key string) (string, error) {
	key, _, err := ParseKey(key)
	if err != nil {
		return "", err
	}
	file := p.AuthFile + p.Docker // one of them
	found, err := Find(ctx, file, []string{key})
	if err != nil {
		return "", err
	}
	l, ok := found.Found[key]
	switch {
	case ok && l.Username != "":
		return l.Username, nil
	case ok:
		return "<token>", nil
	case len(found.Problems) > 0:
		return "", errors.New(strings.Join(found.Problems, "; "))
	}
	return "", fmt.Errorf("%w to %s", ErrNotLoggedIn, key)
}
