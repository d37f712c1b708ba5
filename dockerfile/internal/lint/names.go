package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// stageNames reports names that are reserved or taken.
func (c *checker) stageNames(stages []instructions.Stage) {
	var seen []string
	for _, s := range stages {
		if s.Name == "" {
			continue
		}
		if s.Name == scratch || s.Name == "context" {
			c.lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if slices.Contains(seen, s.Name) {
			c.lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen = append(seen, s.Name)
	}
}

// casing reports the instructions that are not written as most of the file's are: all
// in capitals, or in none.
func (c *checker) casing(stages []instructions.Stage) {
	type word struct {
		text     string
		location []parser.Range
	}
	var words []word
	for _, s := range stages {
		words = append(words, word{s.OrigCmd, s.Location})
		for _, command := range s.Commands {
			words = append(words, word{command.Name(), command.Location()})
		}
	}
	balance := 0
	for _, w := range words {
		switch w.text {
		case strings.ToLower(w.text):
			balance--
		case strings.ToUpper(w.text):
			balance++
		}
	}
	proper, casing := strings.ToUpper, "uppercase"
	if balance < 0 {
		proper, casing = strings.ToLower, "lowercase"
	}
	for _, w := range words {
		if w.text != proper(w.text) {
			c.lint.Run(&linter.RuleConsistentInstructionCasing, w.location,
				linter.RuleConsistentInstructionCasing.Format(w.text, casing))
		}
	}
}

// transport matches references that say where the image is.
var transport = regexp.MustCompile(`^(?:docker://|(?:dir|docker-archive|oci|oci-archive):)`)

// defaultBases reports the base images that are no references when no build argument
// is given.
func (c *checker) defaultBases(stages []instructions.Stage, header []instructions.ArgCommand) {
	env := shell.EnvsFromSlice(c.headerArgs(header, nil, nil))
	for _, s := range stages {
		match, err := c.lex.ProcessWordWithMatches(s.BaseName, env)
		if err != nil {
			return // an error of the build
		}
		if transport.MatchString(match.Result) {
			continue
		}
		if _, err := reference.ParseNormalizedNamed(match.Result); err != nil {
			c.lint.Run(&linter.RuleInvalidDefaultArgInFrom, s.Location, linter.RuleInvalidDefaultArgInFrom.Format(s.BaseName))
		}
	}
}

// secretWords make a name that of a secret, and publicWords make it none after all.
var (
	secretWords = []string{"apikey", "auth", "credential", "credentials", "key", "passwd", "password", "pword", "secret", "token"}
	publicWords = []string{"file", "public", "version"}
)

// secret says that a variable is likely a secret, by the words of its name, which
// underscores separate.
func secret(name string) bool {
	found := false
	for word := range strings.SplitSeq(strings.ToLower(name), "_") {
		if slices.Contains(publicWords, word) {
			return false
		}
		found = found || slices.Contains(secretWords, word)
	}
	return found
}
