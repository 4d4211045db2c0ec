"""The texts that are made or stored in English and translated when they are shown (sentences.py).

A place is filled by a number or by a text that is in this list itself, such as "3 blasts".
"""

from django.utils.translation import gettext_noop as _

TYPES = [
    _("Basophil"), _("Erythroblast"), _("Eosinophil"), _("Smudge cell"), _("Atypical lymphocyte"), _("Lymphocyte"),
    _("Metamyelocyte"), _("Monoblast"), _("Monocyte"), _("Myelocyte"), _("Myeloblast"), _("Band neutrophil"),
    _("Segmented neutrophil"), _("Bilobed promyelocyte"), _("Promyelocyte"), _("Unidentified"), _("Not a cell"),
    _("Baso"), _("NRBC"), _("Eos"), _("Smudge"), _("Atyp lymph"), _("Lymph"), _("Meta"), _("Mono"), _("Band"),
    _("Seg"), _("Promyelo bi"), _("Promyelo"), _("Unident."), _("No cell"), _("Blasts"), _("Promyelocytes"),
    _("Basophils"), _("Eosinophils"), _("Lymphocytes"), _("Monocytes"), _("Segmented neutrophils"),
    _("Bilobed promyelocytes"),
]  # fmt: skip
COUNTS = [
    _("%(count)s blast"), _("%(count)s blasts"), _("%(count)s promyelocyte"), _("%(count)s promyelocytes"),
    _("%(count)s neutrophil"), _("%(count)s neutrophils"), _("%(count)s lymphocyte"), _("%(count)s lymphocytes"),
    _("%(count)s immature neutrophil"), _("%(count)s immature neutrophils"), _("%(count)s atypical lymphocyte"),
    _("%(count)s atypical lymphocytes"), _("%(count)s abnormal lymphocyte"), _("%(count)s abnormal lymphocytes"),
    _("%(count)s monocyte"), _("%(count)s monocytes"), _("%(count)s eosinophil"), _("%(count)s eosinophils"),
    _("%(count)s basophil"), _("%(count)s basophils"), _("%(count)s band neutrophil"), _("%(count)s band neutrophils"),
    _("%(count)s metamyelocyte"), _("%(count)s metamyelocytes"), _("%(count)s myelocyte"), _("%(count)s myelocytes"),
    _("%(count)s bilobed promyelocyte"), _("%(count)s bilobed promyelocytes"), _("%(count)s myeloblast"),
    _("%(count)s myeloblasts"), _("%(count)s monoblast"), _("%(count)s monoblasts"),
    _("%(count)s nucleated red cell"), _("%(count)s nucleated red cells"), _("%(count)s smudge cell"),
    _("%(count)s smudge cells"), _("%(count)s leukocyte"), _("%(count)s leukocytes"), _("%(count)s cell"),
    _("%(count)s cells"), _("%(count)s days"), _("%(count)s day"), _("%(count)s months"), _("%(count)s month"),
    _("%(count)s years"), _("%(count)s year"), _("%(count)s hours"), _("%(count)s of them smudge cells"),
]  # fmt: skip
NAMES = [
    _("blasts"), _("promyelocytes"), _("neutrophils"), _("lymphocytes"), _("immature neutrophils"),
    _("atypical lymphocytes"), _("abnormal lymphocytes"), _("monocytes"), _("eosinophils"), _("basophils"),
    _("band neutrophils"), _("metamyelocytes"), _("myelocytes"), _("bilobed promyelocytes"), _("myeloblasts"),
    _("monoblasts"), _("nucleated red cells"), _("smudge cells"), _("Immature neutrophils"), _("Band neutrophils"),
    _("Metamyelocytes"), _("Myelocytes"), _("Myeloblasts"), _("Monoblasts"), _("counted as lymphocytes"), _("WBC"),
]  # fmt: skip
TITLES = [
    _("Abnormal lymphocytes"), _("Atypical lymphocytes"), _("Neutrophilia"), _("Neutropenia"), _("Lymphocytosis"),
    _("Monocytosis"), _("Eosinophilia"), _("Basophilia"), _("Leukopenia"), _("Left shift"), _("Nucleated red cells"),
    _("Smudge cells"), _("Possible APL"), _("Maturation gap"), _("Lymphopenia"), _("Parasites"), _("Platelet clumps"),
    _("the laboratory's own reference ranges"), _("the laboratory's own flag limits"), _("what was counted"),
    _("what a reader marked"),
]  # fmt: skip
FLAGS = [
    _("at or above %(limit)s"), _("above %(limit)s"), _("at or below %(limit)s"), _("below %(limit)s"),
    _("at or above %(limit)s%%"), _("above %(limit)s%%"), _("at or below %(limit)s%%"), _("below %(limit)s%%"),
    _("WBC %(value)s × 10⁹/L, %(limit)s."),
    _("%(name)s %(value)s × 10⁹/L, %(limit)s."),
    _("%(found)s, %(value)s per 100 leukocytes, %(limit)s."),
    _("%(found)s, %(share)s%% of leukocytes, %(limit)s."),
    _("%(found)s, %(share)s%% of leukocytes."),
    _("%(found)s, at or above %(limit)s."),
    _("The age is not known: judged as an adult."),
    _("The pathologist must review."),
    _("Scan the whole film for blasts."),
    _("Make a film with albumin and count that."),
    _("%(promyelocytes)s (%(bilobed)s bilobed) against %(blasts)s, %(later)s of the later stages."),
    _("%(promyelocytes)s (%(bilobed)s bilobed) against %(blasts)s, no later stage."),
    _("%(promyelocytes)s against %(blasts)s, %(later)s of the later stages."),
    _("%(promyelocytes)s against %(blasts)s, no later stage."),
    _("Rule out acute promyelocytic leukaemia without delay."),
    _("Acute promyelocytic leukaemia is to be excluded."),
    _("Promyelocytes without myelocytes and metamyelocytes."),
    _("Suspected by the detector, not confirmed by a person."),
    _("First suspected by the detector."),
]  # fmt: skip
LIMITS = [
    _("No leukocytes detected: there is no differential."),
    _("Upload a field with leukocytes or add the cells by hand."),
    _("No leukocytes were found: there is no differential."),
    _("Limited count: %(counted)s, fewer than %(least)s."),
    _("Upload another field for a full differential."),
    _("No blasts in %(cells)s (95%% upper limit %(limit)s%%)."),
    _("No slide has been analysed: there is no differential."),
    _("%(unread)s of %(slides)s slides is not analysed: there is no differential yet."),
    _("%(unread)s of %(slides)s slides are not analysed: there is no differential yet."),
    _("%(unread)s of %(slides)s slides is not analysed: the count is not complete."),
    _("%(unread)s of %(slides)s slides are not analysed: the count is not complete."),
    _("%(name)s (%(share)s%%) cannot be told from the %(limit)s%% limit by this count."),
    _(
        "More than %(most)s further cells would be needed to place %(name)s (%(share)s%%) above the %(limit)s%% limit: "
        "not practical."
    ),
    _(
        "More than %(most)s further cells would be needed to place %(name)s (%(share)s%%) below the %(limit)s%% limit: "
        "not practical."
    ),
    _("About %(more)s more cells needed to place %(name)s (%(share)s%%) above the %(limit)s%% limit."),
    _("About %(more)s more cells needed to place %(name)s (%(share)s%%) below the %(limit)s%% limit."),
    _("No reference ranges: the birth date is not known."),
    _("No reference ranges: this laboratory has none for an age of %(age)s."),
    _("No reference range for an age of %(age)s: %(names)s."),
    _("No analyser WBC was entered, so no absolute counts are given."),
    _("The analyser WBC has no %(names)s, so no absolute counts are given."),
    _(
        "Film and analyser contradict each other: %(counted)s on %(area)s mm² suggest about %(estimate)s × 10⁹/L, "
        "the analyser gave %(wbc)s."
    ),
    _("%(name)s: %(value)s cells counted of %(total)s leukocytes."),
    _("%(name)s: %(value)s 10⁹/L."),
    _("%(name)s: %(value)s × 10⁹/L."),
    _("%(name)s: %(value)s (analyser)."),
    _("at or above %(value)s"),
    _("above %(value)s"),
    _("below %(value)s"),
    _("at or below %(value)s"),
    _("decision %(number)s on cell %(cell)s by %(name)s"),
    _("finding %(key)s marked by %(name)s"),
    _("version %(value)s of the rules of critical results"),
    _("the specimen was rejected by %(name)s"),
    _("a change of the laboratory's counting rules"),
    _("Neutropenia"),
    _("Possible APL"),
    _("Platelets low"),
    _("Haemoglobin low"),
    _("White blood cells high"),
    _("The WBC is only %(value)s × 10⁹/L."),
    _("%(slide)s is unlike the images on which the detector was tested: %(names)s."),
    _("stain"),
    _("focus"),
    _("scale"),
    _("%(slide)s: Of the whole slide, %(count)s of %(blocks)s blocks were read (%(area)s mm²)."),
    _("%(slide)s: Of the whole slide, %(area)s mm² were read in regions that a reader drew."),
    _("Its types count as less proven: review them closely."),
    _("The WBC was measured %(span)s before the specimen was collected."),
    _("The WBC was measured %(span)s after the specimen was collected."),
    _("The WBC was measured %(span)s before the specimen was received."),
    _("The WBC was measured %(span)s after the specimen was received."),
    _("Check the unit."),
    _("Check both times."),
    _("Check that both are of one specimen."),
    _("The analyser's WBC is implausible."),
]
RULES = [
    _("Bands counted with segmented neutrophils"),
    _("Bands grouped, with a comment on left shift"),
    _("Bands reported separately"),
    _("Bands counted with segmented neutrophils."),
    _("Bands grouped, with a comment on left shift."),
    _("Bands reported separately."),
    _("A pathologist releases every report"), _("A technologist may release normal films"),
    _("The person who verified the cells may release the report"), _("Never the same person"),
    _("The same person only where nothing is flagged"), _("Second person: %(title)s."),
    _(
        "A technologist may release a film of %(least)s leukocytes or more without flag, grave cell type or change, "
        "with a complete blood count."
    ),
    _("A technologist may release a film of %(least)s leukocytes or more without flag, grave cell type or change."),
    _("make a film"), _("run again"), _("critical value"),
    _("Smudge cells and nucleated red cells per 100 leukocytes, outside the differential."),
    _("WBC corrected for nucleated red cells from %(limit)s per 100 WBC upward."),
    _("WBC not corrected for nucleated red cells: the analyser corrects it."),
    _("Smudge cells and erythroblasts per 100 leukocytes, outside the differential."),
    _("WBC corrected for erythroblasts from %(limit)s per 100 WBC upward."),
    _("WBC not corrected for erythroblasts: the analyser corrects it."),
    _("Under %(least)s leukocytes the count is limited."),
    _(
        "Percentages with exact (Clopper-Pearson) 95 % intervals, rounded to sum to 100; a count of zero with its "
        "one-sided 95 % upper bound."
    ),
    _("A person verifies every counted cell before a signature."),
    _("Flags: %(name)s"),
    _("%(title)s at or above %(limit)s"),
    _("%(title)s above %(limit)s"),
    _("%(title)s at or below %(limit)s"),
    _("%(title)s below %(limit)s"),
    _("%(limit)s 10*9/L"),
    _("%(limit)s 10*9/L from %(age)s"),
    _("%(limit)s 10*9/L under %(age)s"),
    _("%(limit)s × 10⁹/L"),
    _("%(limit)s × 10⁹/L from %(age)s"),
    _("%(limit)s × 10⁹/L under %(age)s"),
    _("%(limit)s per 100 WBC"),
    _(
        "Possible APL: bilobed promyelocytes at or above %(bilobed)s; or promyelocytes at or above %(promyelocytes)s "
        "that are at least %(share)s %% of promyelocytes and blasts, unless myelocytes, metamyelocytes and bands "
        "together are %(maturation)s times as many."
    ),
    _(
        "Possible APL: %(bilobed)s bilobed promyelocytes or more; or %(promyelocytes)s or more promyelocytes that are "
        "at least %(share)s %% of promyelocytes and blasts, unless myelocytes, metamyelocytes and bands together are "
        "%(maturation)s times as many."
    ),
    _(
        "A person verifies at least %(least)s %% of the counted cells before a signature; the others are reported as "
        "the detector typed them."
    ),
    _("urgent"), _("pathologist reviews"), _("note"), _("at or above"), _("above"), _("at or below"), _("below"),
    _("cells counted"), _("per 100 WBC"), _("female"), _("male"), _("any"),
]  # fmt: skip
CELLS = [
    _("blast or promyelocyte"), _("weak evidence for this type"), _("no evidence for this type"), _("low score"),
    _("weak"), _("fair"), _("good"), _("none"), _("high"), _("low"), _("high?"), _("low?"), _("up"), _("down"),
    _("%(low)s – %(high)s"), _("%(low)s – %(high)s %(unit)s"), _("up to %(high)s %(unit)s"),
    _("from %(low)s %(unit)s"), _("none (%(high)s %(unit)s)"), _("under %(value)s"), _("%(name)s, absolute"),
    _("unit"), _("source"), _("time"), _("× 10⁹/L"), _("/100 WBC"),
]  # fmt: skip
STATES = [
    _("preliminary, not reviewed"), _("reviewed, not signed"), _("signed"), _("signed, %(sentence)s"),
    _("%(words)s; an amendment is open"),
    _("%(verified)s of %(counted)s cell verified by a person"),
    _("%(verified)s of %(counted)s cells verified by a person"),
    _("%(verified)s of %(counted)s cell verified by a person, %(alone)s by the detector alone"),
    _("%(verified)s of %(counted)s cells verified by a person, %(alone)s by the detector alone"),
    _("%(verified)s of %(counted)s cell verified by a person."),
    _("%(verified)s of %(counted)s cells verified by a person."),
    _("%(verified)s of %(counted)s cell verified by a person, %(alone)s by the detector alone."),
    _("%(verified)s of %(counted)s cells verified by a person, %(alone)s by the detector alone."),
]  # fmt: skip
RESULT = [
    _("%(name)s %(percent)s%% (%(count)s of %(total)s)"), _("no blasts or promyelocytes"),
    _("No blasts or promyelocytes"),
    _("all types within their reference ranges"), _("no type surely outside its reference range"),
    _("%(title)s high"), _("%(title)s low"), _("%(title)s high?"),
    _("%(title)s low?"), _("up to %(high)s × 10⁹/L"), _("from %(low)s × 10⁹/L"), _("%(low)s – %(high)s × 10⁹/L"),
]  # fmt: skip
REPORT = [
    _("%(share)s %%"), _("%(value)s × 10⁹/L"), _("%(value)s per 100 WBC"), _("version %(version)s"), _("(empty)"),
    _("Slide %(number)s"),
    _("Patient"), _("MRN"), _("Sex"), _("Birth date"), _("Accession number"), _("Priority"), _("Stain"),
    _("Collected"), _("Received"), _("Clinical note"), _("Analyser WBC"), _("Requested by"), _("Ward"), _("Copy to"),
    _("Specimen"), _("Collector"), _("Comment"), _("Leukocytes counted"), _("Flags"), _("Slides"), _("Rules"),
    _("Critical results"), _("Changes against earlier results"), _("Slides set aside"), _("Detector"),
    _("Reference count"), _("Verified"),
    _("counted as lymphocytes: %(reason)s"),
    _("uploader"), _("file"), _("red cells"), _("assumed"), _("metadata"), _("Pathologist"), _("per 100 WBC"),
    _("× 10³/µL"), _("/µL"), _("× 10¹²/L"), _("× 10⁶/µL"), _("withdrawn"), _("variant"), _("abnormal"),
]  # fmt: skip
TABLES = [
    _("Flag limit %(count)s (%(title)s): %(problem)s"), _("Critical limit %(count)s (%(title)s): %(problem)s"),
    _("Review rule %(count)s (%(title)s): %(problem)s"), _("Delta rule %(count)s (%(title)s): %(problem)s"),
    _("Suggestion rule %(count)s (%(title)s): %(problem)s"), _("write the text in one line."),
    _("there is no figure for %(name)s."),
    _("%(part)s can never be: only the film is compared with ranges, only a count has marks."),
    _("the id %(key)s is used twice."), _("fill in the %(name)s, at most %(most)s characters."),
    _("the id must be of letters, digits and underscores."), _("write ages as 3d, 6m or 2y."),
    _("the ages are empty: “under” must be above “from”."), _("the limit must be a number from 0 to 100,000."),
    _("choose what is limited; a flag that was removed cannot be critical."), _("at or above 0 is always met."),
    _("the days must be a whole number from 0 (every time) to %(most)s."), _("choose what is compared."),
    _("say yes or no whether a patient may be excepted."),
    _("choose the comparison and one of the codes %(codes)s."), _("write the span as 72h or 30d."),
    _("0 is a limit of percentages of the film only, where the intervals decide."),
    _("Changes against the earlier result: %(limits)s."),
    _("Check the sample: %(title)s"), _("Changed: %(title)s"), _("possible sample mix-up"),
    _("change to be looked at"), _("up or down"), _("in its unit"), _("% of the earlier value"),
]  # fmt: skip
FILM = [
    _("%(figure)s; %(platelets)s platelets and %(red_cells)s red cells by %(detector)s, accepted by a person"),
    _("%(platelets)s platelets and %(red_cells)s red cells by %(detector)s, accepted by a person"),
    _("about %(value)s (95 %% interval %(low)s to %(high)s) × 10⁹/L by factor %(factor)s"),
    _("%(value)s (95 %% interval %(low)s to %(high)s) per 1,000 red cells"),
]
BLOOD_COUNTS = [
    _("%(name)s %(value)s does not follow from the other red cell values (%(right)s)."),
    _("%(name)s %(value)s does not follow from %(share)s %% of the white blood cells (%(right)s)."),
    _("%(name)s %(value)s of %(volume)s fL would fill more than the blood: check the units."),
    _("Haemoglobin %(value)s g/L is more than a haematocrit of %(part)s %% can hold: check the unit."),
    _("The shares of the leukocytes add up to %(total)s %%."),
    _("The WBC of the case (%(wbc)s) was entered by a person and stays; this run has %(sent)s."),
]
_ALL = (BLOOD_COUNTS, FILM, COUNTS, FLAGS, LIMITS, RULES, CELLS, STATES, RESULT, REPORT, TABLES)
PATTERNS = [text for texts in _ALL for text in texts if "%(" in text]
