package io.github.moelora.peft;

import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.ReadOptions.Nesting;
import java.util.List;
import java.util.Set;

/**
 * One way to read a file's nested wrappers, and what its shapes then allow. Where both projections
 * of gated experts are there, at most one order of the wrappers has the widths of one model, so
 * that the shapes tell.
 *
 * @param entries all pairs of routed experts
 * @param consistent orientations in which they agree on the widths
 * @param reversed whether the shapes told that the order is the exchanged one
 */
record Reading(List<Entry> entries, Set<Orientation> consistent, boolean reversed) {

  /** Orientations in which entries can be read. */
  interface Judge {
    /**
     * Judges.
     *
     * @param strictly whether the version must have written them
     */
    Set<Orientation> orientations(List<Entry> entries, boolean strictly);
  }

  static Reading choose(EntryReader reader, Judge judge, ReadOptions options) {
    Nesting told = options.nesting();
    List<Entry> entries = reader.entries(told == null ? Nesting.REGISTERED : told);
    Reading reading = new Reading(entries, judge.orientations(entries, false), false);
    if (told != null || !judge.orientations(entries, true).isEmpty()) {
      return reading;
    }
    List<Entry> exchanged = reader.entries(Nesting.REVERSED);
    Set<Orientation> orientations = judge.orientations(exchanged, true);
    return orientations.isEmpty() ? reading : new Reading(exchanged, orientations, true);
  }
}
