package lint

import (
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stageNames reports names that are reserved or taken.
func (w *walk) stageNames() {
	var seen []string
	for _, stage := range w.plan.Stages {
		s := stage.Parsed
		if s.Name == "" {
			continue
		}
		if s.Name == scratch || s.Name == "context" {
			w.lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if slices.Contains(seen, s.Name) {
			w.lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen = append(seen, s.Name)
	}
}

// casing reports the instructions that are not written as most of the file's are: all
// in capitals, or in none.
func (w *walk) casing() {
	type word struct {
		text     string
		location []parser.Range
	}
	var words []word
	for _, s := range w.plan.Stages {
		words = append(words, word{s.Parsed.OrigCmd, s.Parsed.Location})
		for _, command := range s.Parsed.Commands {
			words = append(words, word{command.Name(), command.Location()})
		}
	}
	balance := 0
	for _, word := range words {
		switch word.text {
		case strings.ToLower(word.text):
			balance--
		case strings.ToUpper(word.text):
			balance++
		}
	}
	proper, casing := strings.ToUpper, "uppercase"
	if balance < 0 {
		proper, casing = strings.ToLower, "lowercase"
	}
	for _, word := range words {
		if word.text != proper(word.text) {
			w.lint.Run(&linter.RuleConsistentInstructionCasing, word.location,
				linter.RuleConsistentInstructionCasing.Format(word.text, casing))
		}
	}
}

// transports begin references that say where the image is.
var transports = []string{"docker://", "dir:", "docker-archive:", "oci:", "oci-archive:"}

// defaultBases reports the base images that are no references when no build argument
// is given.
func (w *walk) defaultBases() {
	for i, base := range w.plan.DefaultBases() {
		if slices.ContainsFunc(transports, func(t string) bool { return strings.HasPrefix(base, t) }) {
			continue
		}
		if _, err := reference.ParseNormalizedNamed(base); err != nil {
			s := w.plan.Stages[i].Parsed
			w.lint.Run(&linter.RuleInvalidDefaultArgInFrom, s.Location, linter.RuleInvalidDefaultArgInFrom.Format(s.BaseName))
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
