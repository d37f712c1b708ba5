// Package gitref tells references to git repositories from paths and URLs, as ADD does
// (Dockerfile reference, "ADD from a git repository").
package gitref

import "github.com/oakum-build/oakum/builder/internal/gitrepo"

// Is says whether ADD takes a text for a git repository, and not for a path or the
// URL of a file. A text that is taken for one and cannot be is an error that matches
// builder.ErrInvalid.
func Is(text string) (bool, error) {
	if !gitrepo.Is(text) {
		return false, nil
	}
	_, err := gitrepo.Parse(text)
	return true, err
}
