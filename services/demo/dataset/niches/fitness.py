"""Fitness: a home workout coach, a maker of training gear, a neighbourhood gym."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Coach Tamsin|Slow Strong|Kettle & Calm|Jonas Moves|Two Mats|Run With Ines"),
    taglines=lines("""
        Strength for normal people with normal weeks.
        No shouting, no detox, just training.
        Home workouts that respect your neighbours.
    """),
    tags=words("#homeworkout|#strengthtraining|#mobility|#runningtips|#fitover30"),
    groups=(
        Group(
            ref="workout",
            names=(
                words("20-minute|no-jump|dumbbell|beginner|lunch break|hotel room"),
                words("full body workout|core workout|leg day|upper body session|HIIT session"),
            ),
            aspects=words("pacing|timer on screen|warm-up|form cue|playlist|last round|cool-down"),
            titles=lines("""
                {name} (follow along)
                {name}, no equipment, no excuses
                {name} your neighbours won't hear
                Do this {name} three times a week
                {name} for tired days
                I did my own {name} for 30 days
            """),
        ),
        Group(
            ref="plan",
            names=(
                words("first 5k|half marathon|pull-up|morning mobility|bad back|postpartum"),
                words("plan|program|challenge|training block"),
            ),
            aspects=words("rest day advice|weekly structure|warm-up|explanation|progression|free PDF|pace chart"),
            titles=lines("""
                {name}: start here
                The {name} I give my own clients
                {name}: mistakes in week one
                Who should not do the {name}
                {name} results, the honest version
            """),
        ),
        Group(
            ref="technique video",
            names=(
                words("squat|deadlift|running|kettlebell swing|plank|push-up"),
                words("form check|technique guide|mobility drill|strength test"),
            ),
            aspects=words("side angle|slow motion part|hip cue|breathing tip|common mistakes section|demo"),
            titles=lines("""
                {name} in five minutes
                {name}: fix this first
                Your {name} questions answered
                {name} for stiff people
                {name} with a physio
            """),
        ),
    ),
    praise=lines("""
        Day 12 of the {name} and I can finally climb stairs without swearing.
        Did the {name} with {who} and we couldn't stop laughing. Sweaty but happy.
        My back pain is basically gone since the {name}.
        You explain the why of every {ref}, that's rare.
        This {ref} is tough in the best way.
        Started the {name} {span} ago, first visible progress in years.
        A {ref} that doesn't assume I'm 22. Thank you.
        Love that the {name} has an easier option for every move.
        Down to my goal and I owe it to the {name}.
        No yelling, no shaming, just a good {ref}.
        The {name} is now part of my lunch break.
    """),
    gripe=lines("""
        The {name} hurt my knees, there was no modification at all.
        Beginner {ref}? I nearly passed out in minute six.
        Too much talking, the {name} only starts at minute five.
        The music in the {name} is louder than your voice.
        The timer in the {name} is off by ten seconds on every round.
        The {name} skips the warm-up and that's careless.
        I've done the {name} for {span} and felt no difference.
        The link to the {name} has been dead for days.
    """),
    ask=lines("""
        Can I do the {name} with a sore shoulder?
        How many times a week should I do this {ref}?
        What weight do you use in the {name}?
        Is the {name} okay after a C-section?
        What can I use for the {name} instead of dumbbells?
        Should I eat before the {name} or after?
        Is there a longer version of this {ref}?
        What mat is that in the {name}?
    """),
    note=lines("""
        Watched the {name} from the sofa with crisps. Respect to all of you.
        My dog thinks the {name} is a game for him.
        Day one. Let's see if I'm still here in {span}.
        I do the {name} at half speed, still counts.
        Doing this {ref} tomorrow. Or on {day}.
        My legs have filed a complaint.
    """),
)

BRAND = World(
    names=words("Tornby Strength|Alder Athletics|Kettle & Co. Gear|Northpace|Rumo Training"),
    taglines=lines("""
        Training gear that outlives your excuses.
        Simple kit for small flats.
        Built for garages, balconies and early mornings.
    """),
    tags=words("#homegym|#strength|#newgear|#trainingday|#runners"),
    groups=(
        Group(
            ref="set",
            names=(words("Core|Stack|Garage|Compact"), words("dumbbell set|kettlebell set|band set|bar set")),
            aspects=words("grip|finish|weight accuracy|rack|value|coating|box"),
            titles=lines("""
                Restocked: {name}
                {name} in 2 square metres
                How we cast the {name}
                One {name}, twenty exercises
                Drop test: {name}
            """),
        ),
        Group(
            ref="mat",
            names=(words("Moss|Slate|Dune|Tide"), words("training mat|yoga mat|travel mat|XL mat")),
            aspects=words("grip|thickness|colour|smell out of the box|carry strap|surface|size"),
            titles=lines("""
                {name}: made to be sweated on
                New colour for the {name}
                {name} after 500 classes
                How to clean your {name}
                {name} giveaway, three winners
            """),
        ),
        Group(
            ref="running vest",
            names=(words("Lark|Fell|Ridge|Dawn"), words("running vest|hydration vest|light vest")),
            aspects=words("fit|phone pocket|water flask|zip|fabric|reflective strip|sizing"),
            titles=lines("""
                {name}: pockets where you need them
                Testing the {name} in sideways rain
                {name}, now in size XS to 3XL
                42 km with the {name}
                Designed with our community: {name}
            """),
        ),
    ),
    praise=lines("""
        The {name} got me training at home again.
        Solid {ref}, feels like it will last forever.
        Using the {name} four times a week for {span}, still looks new.
        Perfect {ref} for a small flat.
        {who_cap} borrowed my {name} and never gave it back.
        Much better than the {ref} at my old gym.
        The {name} fits exactly as described.
        Ran my longest distance ever with the {name}.
        Bought the {name} after a lot of comparing, right choice.
    """),
    gripe=lines("""
        The {name} ripped after {span} of light use.
        The {name} smells so bad I keep it on the balcony.
        Coating of the {name} flakes off onto the floor.
        Sizing of the {name} is way off, order at least one up.
        One part of my {name} was simply missing.
        The {name} is slippery as soon as you sweat.
        Not the {ref} you show in the video, mine looks cheaper.
        The stitching on my {name} came loose in week one.
    """),
    ask=lines("""
        What is the heaviest option for the {name}?
        Is the {name} okay on wooden floors?
        Can I wash the {name}?
        Do you have a size chart for the {name}?
        When is the {name} back in stock?
        Is the {name} suitable for someone 1.90 tall?
        Do you ship the {name} to an island?
        Can I add more pieces to the {name} later?
    """),
    note=lines("""
        Currently using soup cans instead of a {ref}.
        My {name} is mostly a coat rack in winter.
        Comparing the {name} with a second-hand one at the moment.
        Saving up for the {name}.
        {who_cap} has the same {ref} in grey.
    """),
)

LOCAL = World(
    names=words("Harbour Lane Gym|The Lift Loft|Oakfield Fitness|Studio Stride|Common Ground Gym"),
    taglines=lines("""
        A friendly gym with real coaches.
        Small classes, big windows, no mirrors selfie zone.
        Train at your pace, five minutes from the station.
    """),
    tags=words("#gymlife|#smallclasses|#community|#strength|#shoplocal"),
    groups=(
        Group(
            ref="class",
            names=(
                words("early bird|lunchtime|evening|Saturday|beginner"),
                words("spin class|yoga class|strength class|boxing class|mobility class"),
            ),
            aspects=words("coaching|music|group size|atmosphere|schedule|warm-up|air conditioning"),
            titles=lines("""
                New on the timetable: {name}
                {name}: bring a friend for free
                Meet the coach behind our {name}
                {name} moves to the big room
                Spots open in the {name}
                Your first {name}: what to expect
            """),
        ),
        Group(
            ref="offer",
            names=(
                words("10-visit|student|off-peak|family|summer"),
                words("pass|membership|trial week|personal training pack"),
            ),
            aspects=words("price|cancellation policy|welcome session|opening hours|sign-up|app"),
            titles=lines("""
                {name}: what's included
                Last days of the {name}
                {name} explained in one minute
                Why members choose the {name}
                No joining fee on the {name} this month
            """),
        ),
    ),
    praise=lines("""
        {staff} remembers my name and my bad knee.
        I was scared of gyms until I tried the {name}.
        The {name} is the highlight of my week.
        Always clean, never too full, even on {day}.
        Joined with the {name} and stayed.
        {staff} corrected my deadlift in two minutes after years of doing it wrong.
        Took {who} to the {name} and now we go together.
        Been coming for {span} and I've never felt judged here.
        Equipment is looked after and somebody actually walks the floor.
    """),
    gripe=lines("""
        The {name} was cancelled twice without a message.
        Showers were cold again after the {name}.
        Impossible to get out of the {name} once you signed.
        Half the machines have been out of order for {span}.
        The {name} is overbooked, we had no space to move.
        Paid for the {name} and was charged twice.
        Nobody at the desk, nobody on the floor, nobody answers the phone.
        The changing room smells and has done for weeks.
    """),
    ask=lines("""
        Is there parking near the gym in the evening?
        Can I try the {name} once before I join?
        Do I need to book the {name}?
        Is the {name} suitable for complete beginners?
        How much is the {name} for pensioners?
        Who teaches the {name} on {day}?
        Are you open on bank holidays?
    """),
    note=lines("""
        Signed up for the {name}, pray for me.
        I live upstairs and can confirm the {name} starts on time.
        My membership is the most expensive thing I don't use.
        Back on {day} after a long break.
        Thinking about the {name}, need to check my shifts first.
    """),
    place="gym",
)
