package filecopy

// Selection is what is taken of a tree. The zero value is all of it.
type Selection struct {
	Patterns []string `json:",omitempty"` // path.Match per component, relative to the tree's root; none is all of it
	Parents  bool     `json:",omitempty"` // as COPY --parents: keep the directories that the patterns name
	Ignore   []string `json:",omitempty"` // .dockerignore patterns, relative to the tree's root
	Exclude  []string `json:",omitempty"` // the same, of COPY --exclude, relative to each selected directory
}
