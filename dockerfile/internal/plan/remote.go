package plan

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/gitref"
)

// Remote says whether ADD fetches a source, and whether as a git repository or as a
// file. The error is of a source that looks like a repository and cannot be one.
func Remote(source string) (git, file bool, err error) {
	if git, err = gitref.Is(source); git {
		return true, false, err
	}
	scheme, _, ok := strings.Cut(source, "://")
	return false, ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")), nil
}

// isRemote says whether ADD fetches a source.
func isRemote(source string) bool {
	git, file, _ := Remote(source)
	return git || file
}

// userInfo matches the credentials of a URL.
var userInfo = lazy(`((?i:https?)://)[^/@\s"']+@`)

// Redact hides credentials in a text that is shown or kept.
func Redact(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	return userInfo().ReplaceAllString(text, "${1}xxxxx@")
}

// checkRemote checks a source and the checksum that ADD fetches it with.
func checkRemote(source, checksum string) error {
	git, file, err := Remote(source)
	if err != nil {
		return fmt.Errorf("ADD %s: %w", Redact(source), err)
	}
	if file {
		if u, err := url.Parse(source); err != nil || u.Hostname() == "" {
			return fmt.Errorf("ADD %s: not a URL", Redact(source))
		}
	}
	switch {
	case checksum == "":
		return nil
	case git:
		if !commitID().MatchString(checksum) {
			return fmt.Errorf("ADD --checksum=%s: the checksum of a git repository is a commit's id", checksum)
		}
		return nil
	case !file:
		return errors.New("ADD --checksum is for URLs and git repositories, not for files of the context")
	}
	if err := digest.Digest(checksum).Validate(); err != nil {
		return fmt.Errorf("ADD --checksum=%s: %w; it has the form sha256:<64 hex digits>", checksum, err)
	}
	return nil
}

var commitID = lazy(`^[0-9a-f]{1,64}$`)
