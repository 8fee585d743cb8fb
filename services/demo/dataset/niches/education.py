"""Education: a teacher with a channel, a maker of online courses, a tutoring and language school."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Chalk & Tea|Maths with Mirela|The Study Attic|Grammar Garden|Physics on Paper|Noted by Nils"),
    taglines=lines("""
        Hard topics, soft explanations.
        Ten minutes, one idea, no panic.
        For students who gave up on lesson three.
    """),
    tags=words("#studytips|#learnontiktok|#mathshelp|#examprep|#studywithme"),
    groups=(
        Group(
            ref="lesson",
            names=(
                words("fractions|probability|quadratic equation|Newton's laws|cell biology|essay writing"),
                words("lesson|crash course|recap|worked example"),
            ),
            aspects=words("step-by-step part|drawing|practice problem|summary|example|pace|handwriting"),
            titles=lines("""
                {name} that finally makes sense
                {name} in 12 minutes
                {name}: the mistake everyone makes
                The night-before {name}
                {name} from zero
                I teach the {name} with pizza
            """),
        ),
        Group(
            ref="language tip",
            names=(
                words("past tense|listening|pronunciation|small talk|vocabulary"),
                words("practice|drill|routine|mini course|challenge"),
            ),
            aspects=words("accent comparison|example sentence|repeat-after-me part|word list|quiz|subtitle"),
            titles=lines("""
                {name} you can do on the bus
                {name}: 15 minutes a day
                {name} for shy people
                I did this {name} for 60 days
                {name} with a native speaker
            """),
        ),
        Group(
            ref="study method",
            names=(words("flashcard|Sunday|exam week|note-taking|focus"), words("method|study plan|reset|system")),
            aspects=words("timetable|template|desk setup|break rule|science part|honesty"),
            titles=lines("""
                My {name}, explained
                The {name} that got me through finals
                {name} for people who procrastinate
                Testing a {name} with 30 students
                Why your {name} isn't working
            """),
        ),
    ),
    praise=lines("""
        Passed my exam because of the {name}. I owe you a cake.
        You explained in ten minutes what my teacher couldn't in {span}.
        The {name} is now on our class board.
        I'm 41, back at school, and the {name} gives me hope.
        Watched the {name} with {who} and we both got it.
        Finally a {ref} that starts from where I am.
        The {name} made me laugh and learn, how rude.
        I've shown the {name} to all my students.
        Never thought I'd enjoy a {ref}.
        Rewatched the {name} before the test and got an A.
        So calm. The {name} lowered my heart rate.
    """),
    gripe=lines("""
        There's a mistake in the {name} around the middle, please pin a correction.
        The {name} goes from easy to impossible in one step.
        Can't read the board in the {name} on my phone.
        The {name} repeats the same thing three times.
        The worksheet for the {name} is behind a sign-up now.
        The {name} doesn't match what we need for the exam at all.
        You talk so fast in the {name} that I gave up.
        Background music in a {ref}? Please don't.
    """),
    ask=lines("""
        Is there a worksheet for the {name}?
        Will there be a second part of the {name}?
        How long should I spend on the {name} each day?
        Does the {name} also work for younger kids?
        What comes after the {name}?
        Can I use the {name} in my classroom?
        Which pen and paper do you use in the {name}?
        Could you do the {name} for university level?
    """),
    note=lines("""
        Exam tomorrow. Found the {name} today. Classic.
        I'm only here because the homework says so.
        We learned the {name} in a different order at school.
        My notes look like modern art.
        {who_cap} is a teacher and sends this to everybody.
        Day one of the {name}, reporting back in {span}.
    """),
)

BRAND = World(
    names=words("Lernhaus Online|Wren Academy|Brightside Courses|Quillwise|Small Steps Learning"),
    taglines=lines("""
        Short courses for busy people.
        Learn a little every day, with real teachers.
        Courses you'll actually finish.
    """),
    tags=words("#onlinelearning|#newcourse|#careerchange|#learneveryday|#students"),
    groups=(
        Group(
            ref="course",
            names=(
                words("Everyday|Practical|First Steps|Advanced|Weekend"),
                words("Spanish course|data course|design course|writing course|bookkeeping course"),
            ),
            aspects=words("pace|video quality|tutor feedback|workbook|structure|community|certificate"),
            titles=lines("""
                Now open: {name}
                Inside the {name}
                Meet the teacher of the {name}
                {name}: new lessons this week
                From the {name} to a new job
                Try lesson one of the {name}
            """),
            digital=True,
        ),
        Group(
            ref="learning kit",
            names=(words("Young Scientist|Paper Robot|Little Reader|Number"), words("Kit|Card Deck|Workbook Set")),
            aspects=words("illustration style|instruction booklet|material|difficulty|box|replay value"),
            titles=lines("""
                Unboxing the {name}
                {name}: rainy day approved
                How teachers use the {name}
                {name} is back for the holidays
                Made with 40 families: {name}
            """),
        ),
    ),
    praise=lines("""
        Finished the {name} and got the job. Thank you all.
        The {name} is the first {ref} I didn't abandon.
        My daughter asks for the {name} after dinner.
        The feedback in the {name} is personal and fast.
        Did the {name} together with {who}, great fun.
        I learned more from the {name} in {span} than in two years alone.
        You can tell that real teachers made this {ref}.
        The {name} fits into a lunch break.
        Best money I've spent on learning, the {name} is brilliant.
    """),
    gripe=lines("""
        The {name} stops right where it gets interesting.
        I still have no access to the {name}, paid {span} ago.
        Half of the links in the {name} are dead.
        The {name} is way too easy for that price.
        Two pieces of the {name} were missing.
        My questions about the {name} were never answered.
        The {name} renewed by itself and I want my money back.
        Translation in the {name} is full of errors.
    """),
    ask=lines("""
        How long do I have access to the {name}?
        Is the {name} okay for complete beginners?
        Do I get a certificate for the {name}?
        What age is the {name} meant for?
        Can I pay for the {name} in instalments?
        Is there a group discount on the {name} for schools?
        When does the next {name} start?
        Does the {name} come in other languages?
    """),
    note=lines("""
        Signed up for the {name}, we'll see if I finish this one.
        I have eleven unfinished courses, a collector really.
        {who_cap} did the {name} last year.
        Waiting for the {name} to open again.
        Considering the {name} for my team, still comparing.
    """),
)

LOCAL = World(
    names=words("Brightwater Tutoring|The Language Loft|Maple Street School|Abacus Corner|Open Book Studio"),
    taglines=lines("""
        Tutoring and languages in small groups.
        Patient teachers, real progress, free first lesson.
        Homework help and evening courses near the park.
    """),
    tags=words("#tutoring|#languageschool|#smallgroups|#homeworkhelp|#shoplocal"),
    groups=(
        Group(
            ref="course",
            names=(
                words("evening|intensive|beginner|conversation|holiday"),
                words("Spanish course|English course|French course|Italian course"),
            ),
            aspects=words("teacher|group size|atmosphere|course book|speaking time|price|classroom"),
            titles=lines("""
                {name}: new dates
                Two places left in the {name}
                What you learn in the {name}
                {name} with a free trial lesson
                Meet the teacher of our {name}
                {name}, photos from the last class
            """),
        ),
        Group(
            ref="tutoring",
            names=(
                words("maths|exam|reading|physics|homework"),
                words("tutoring|summer camp|support group|crash week"),
            ),
            aspects=words("patience|progress report|structure|communication with parents|schedule|teacher"),
            titles=lines("""
                {name} starts in September
                How our {name} works
                {name}: what parents ask us
                {name}, now also online
                From a 5 to a 2 with {name}
            """),
        ),
    ),
    praise=lines("""
        My son went from tears to a good grade thanks to the {name}.
        {staff} has the patience of a saint.
        After the {name} I ordered dinner in another language. Goosebumps.
        Small group, lots of speaking, the {name} is really worth it.
        My daughter looks forward to the {name} every week.
        {staff} writes a short report after each lesson, so helpful.
        Did the {name} with {who} and we laughed a lot.
        After {span} of the {name} the difference is huge.
        They found the right level for me on the first day.
    """),
    gripe=lines("""
        Three different teachers in one {name}, no continuity.
        The {name} was cancelled twice and not made up for.
        Told small group, sat with fourteen people in the {name}.
        No progress after {span} of the {name}.
        Nobody answers e-mails about the {name}.
        Paid for the whole {name} upfront and can't get a refund.
        The room for the {name} is freezing and noisy.
        {staff} was late to every second lesson.
    """),
    ask=lines("""
        Is there still a place in the {name}?
        What level do I need for the {name}?
        How much is the {name} per month?
        Do you offer the {name} at weekends?
        Can I try the {name} once?
        What age is the {name} for?
        Do we need to buy a book for the {name}?
    """),
    note=lines("""
        Took the {name} years ago, still can't roll the r.
        Asking {who} if we do the {name} together.
        Homework for adults, who would have thought.
        We'd need the {name} on {day}, other days are full.
        Saw your sign from the bus.
    """),
    place="school",
)
