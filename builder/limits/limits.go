// Package limits holds how much is read of what others wrote, and the error that says
// what was more than that, and the one of a file system that takes no more.
package limits

import (
	"errors"
	"fmt"
	"syscall"
)

// The limits are far above what is written in earnest, and low enough that what is read
// fits in memory many times over.
const (
	// MaxDockerfile bounds a Dockerfile, in bytes.
	MaxDockerfile = 16 << 20
	// MaxIgnoreFile bounds an ignore file, in bytes.
	MaxIgnoreFile = 1 << 20
	// MaxPattern bounds a pattern of an ignore file or of --exclude, in bytes: no path is
	// longer (PATH_MAX).
	MaxPattern = 4096
	// MaxPatterns bounds the patterns of an ignore file. MaxWildcards bounds the "*", "?" and
	// "[" in them all, but for "**" at an end, since each path of a context is compared with
	// each of them, as is each directory above it.
	MaxPatterns  = 10_000
	MaxWildcards = 1_000
	// MaxLines bounds the lines of a Dockerfile that are not blank and no comments, and
	// MaxInstructions and MaxStages what they make.
	MaxLines        = 500_000
	MaxInstructions = 5_000
	MaxStages       = 500
	// MaxNesting bounds how deep ${NAME:-...} may lie in each other, and MaxVariableUses how
	// often "${" stands in one text; MaxVariableWork bounds that times the length of an
	// instruction, in bytes.
	MaxNesting      = 100
	MaxVariableUses = 10_000
	MaxVariableWork = 1 << 31
	// MaxValue bounds the value of a variable, in bytes: Linux gives a command no longer one
	// (MAX_ARG_STRLEN). MaxVariables bounds all variables of a stage together.
	MaxValue     = 128 << 10
	MaxVariables = 1 << 20
	// MaxExpansion bounds what the variables of one text put into it, in bytes, and
	// MaxExpansions what they put into all texts of a stage.
	MaxExpansion  = 16 << 20
	MaxExpansions = 64 << 20
	// MaxPatternText bounds a text with ${NAME#PATTERN}, ${NAME%PATTERN} or
	// ${NAME/PATTERN/TEXT}, in bytes, and MaxPatternWork that times the length of a value.
	MaxPatternText = 256 << 10
	MaxPatternWork = 64 << 20
	// MaxArgumentFile bounds a file of build arguments, in bytes.
	MaxArgumentFile = 1 << 20
	// MaxSecret bounds a secret, in bytes, as BuildKit does.
	MaxSecret = 500 << 10
	// MaxSeccomp bounds a system-call filter, in bytes.
	MaxSeccomp = 256 << 10
	// MaxJSON bounds the index, a manifest or a configuration of an image, in bytes, as
	// containers/image bounds those of a registry.
	MaxJSON = 4 << 20
	// MaxUserFile bounds an image's /etc/passwd and /etc/group, in bytes.
	MaxUserFile = 64 << 20
	// MaxGroups bounds the groups of one user (NGROUPS_MAX).
	MaxGroups = 65_536
)

// ErrInvalid is builder.ErrInvalid.
var ErrInvalid = errors.New("invalid argument")

// ErrNoSpace is of a file system that is full, such as that of the store, or of a user that may have no more of it.
// Builder.Prune and Remove work there nevertheless.
var ErrNoSpace = errors.New("no space left")

// IsNoSpace says that an error is ErrNoSpace, or what the system says of such a file system.
func IsNoSpace(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// LimitError says what of others is larger than what is read. It matches ErrInvalid.
type LimitError struct {
	Name  string // the file, or the place in it; may be empty
	What  string // what is limited: "a pattern", "the length"; empty for a file itself
	Limit int64
	Unit  string // of Limit: "bytes", "instructions"
}

func (e *LimitError) Error() string {
	switch {
	case e.What == "":
		return fmt.Sprintf("%s is larger than %d %s, which is the limit", e.Name, e.Limit, e.Unit)
	case e.Name == "":
		return fmt.Sprintf("%s is more than %d %s, which is the limit", e.What, e.Limit, e.Unit)
	}
	return fmt.Sprintf("%s: %s is more than %d %s, which is the limit", e.Name, e.What, e.Limit, e.Unit)
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *LimitError) Is(target error) bool { return target == ErrInvalid }

// IsLimit says that an error is of a limit.
func IsLimit(err error) bool {
	var limit *LimitError
	return errors.As(err, &limit)
}
